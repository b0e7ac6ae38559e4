"""A penalty on the divergence from the starting policy, around any loss."""

from torch import Tensor
from torchmetrics import MeanMetric

from lightning_gft import GroupBatch, GroupLoss, TokenBatch


class KLPenalty(GroupLoss):
    """Adds ``beta`` times Schulman's k3 estimate of the divergence from the starting policy.

    Args:
        loss: The objective.
        beta: Weight of the penalty.
    """

    def __init__(self, loss: GroupLoss, beta: float = 0.05) -> None:
        super().__init__(loss.reduction)
        self.loss, self.beta = loss, beta
        self.kl = MeanMetric()

    def takes_part(self, groups: GroupBatch) -> Tensor:
        return self.loss.takes_part(groups)  # but nothing can be skipped: the penalty acts on every sequence

    def needs(self) -> frozenset[str]:
        return self.loss.needs() | {"ref_logprobs"}

    def coefficients(self, tokens: TokenBatch) -> Tensor:
        # The gradient of exp(x) - 1 - x, x = log ref - log p, is (1 - exp(x)) times that of log p.
        return self.loss.coefficients(tokens) - self.beta * (1 - (tokens.ref_logprobs - tokens.logprobs).exp())

    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        self.loss.update(tokens, self.loss.coefficients(tokens))
        logratio = tokens.ref_logprobs - tokens.logprobs
        self.kl.update(logratio.exp() - 1 - logratio)

    def compute(self) -> dict[str, Tensor]:
        return {**self.loss.compute(), "kl": self.kl.compute()}

    def reset(self) -> None:
        self.loss.reset()
        self.kl.reset()

    def step(self) -> None:
        self.loss.step()
