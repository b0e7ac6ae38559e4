"""GRPO without bad responses that the policy has already left (DeepSeek-V3.2, arXiv 2512.02556)."""

import torch
from torch import Tensor
from torchmetrics import MeanMetric

from lightning_gft import GRPOLoss, TokenBatch


class OffPolicyMaskedGRPOLoss(GRPOLoss):
    """Leaves out responses with a negative advantage whose mean ``log p_old - log p`` is above a threshold.

    Args:
        threshold: In nats a token.
        epsilon: See ``GRPOLoss``.
    """

    def __init__(self, threshold: float = 0.1, epsilon: float = 0.2) -> None:
        super().__init__(epsilon)
        self.threshold = threshold
        self.masked = MeanMetric()

    def needs(self) -> frozenset[str]:
        return super().needs() | {"sequence_logratio"}

    def coefficients(self, tokens: TokenBatch) -> Tensor:
        return torch.where(self.off_policy(tokens), 0.0, super().coefficients(tokens))

    def off_policy(self, tokens: TokenBatch) -> Tensor:
        return (tokens.advantages < 0) & (-tokens.sequence_logratio > self.threshold)

    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        super().update(tokens, coefficients)
        self.masked.update(self.off_policy(tokens[tokens.position == 0]).float())  # a response counts once

    def compute(self) -> dict[str, Tensor]:
        return {**super().compute(), "off_policy_fraction": self.masked.compute()}

    def reset(self) -> None:
        super().reset()
        self.masked.reset()
