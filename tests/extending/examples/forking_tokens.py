"""Any objective on the tokens where the policy decides: those of high entropy (arXiv 2506.01939)."""

import torch
from torch import Tensor
from torchmetrics import MeanMetric

from lightning_gft import GroupLoss, LossWrapper, TokenBatch


class ForkingTokens(LossWrapper):
    """Leaves the tokens alone that the policy is sure of; the mean still counts them.

    Args:
        loss: The objective.
        min_entropy: Entropy from which on a token is trained, in nats; the paper's 80th percentile was 0.672.
    """

    def __init__(self, loss: GroupLoss, min_entropy: float = 0.672) -> None:
        super().__init__(loss)
        self.min_entropy = min_entropy
        self.share = MeanMetric()

    def needs(self) -> frozenset[str]:
        return super().needs() | {"entropy"}

    def coefficients(self, tokens: TokenBatch) -> Tensor:
        return torch.where(self.forks(tokens), self.loss.coefficients(tokens), 0.0)

    def forks(self, tokens: TokenBatch) -> Tensor:
        return tokens.entropy >= self.min_entropy

    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        super().update(tokens[self.forks(tokens)], coefficients)
        self.share.update(self.forks(tokens).float())

    def compute(self) -> dict[str, Tensor]:
        return {**super().compute(), "frac_forking_tokens": self.share.compute()}

    def reset(self) -> None:
        super().reset()
        self.share.reset()
