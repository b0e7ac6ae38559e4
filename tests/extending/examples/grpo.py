"""GRPO (arXiv 2402.03300): a clipped policy gradient on the policy's own samples."""

import torch
from torch import Tensor
from torchmetrics import MeanMetric

from lightning_gft import GroupBatch, GroupLoss, Source, TokenBatch
from lightning_gft.functional import Reduction


class GRPOLoss(GroupLoss):
    """Advantage times probability ratio, without a gradient where the ratio has left its range.

    Args:
        clip_low: How far below 1 the ratio may fall.
        clip_high: How far above 1 it may rise.
        reduction: What the mean is taken over.
    """

    def __init__(self, clip_low: float = 0.2, clip_high: float = 0.2, reduction: Reduction = "token-mean") -> None:
        super().__init__(reduction)
        self.clip_low, self.clip_high = clip_low, clip_high
        self.low, self.high = MeanMetric(), MeanMetric()

    def takes_part(self, groups: GroupBatch) -> Tensor:
        return groups.source == Source.SELF

    def can_skip(self, groups: GroupBatch) -> Tensor:
        return groups.advantages == 0

    def needs(self) -> frozenset[str]:
        return frozenset({"advantages", "old_logprobs"})

    def coefficients(self, tokens: TokenBatch) -> Tensor:
        low, high = self.clipped(tokens)
        return torch.where(low | high, 0.0, tokens.advantages * self.logratio(tokens).exp())

    def logratio(self, tokens: TokenBatch) -> Tensor:
        return tokens.logprobs - tokens.old_logprobs

    def clipped(self, tokens: TokenBatch) -> tuple[Tensor, Tensor]:
        ratio = self.logratio(tokens).exp()
        low = (ratio < 1 - self.clip_low) & (tokens.advantages < 0)
        return low, (ratio > 1 + self.clip_high) & (tokens.advantages > 0)

    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        for metric, clipped in zip((self.low, self.high), self.clipped(tokens), strict=True):
            metric.update(clipped.float())

    def compute(self) -> dict[str, Tensor]:
        return {"clip_ratio/low_mean": self.low.compute(), "clip_ratio/high_mean": self.high.compute()}

    def reset(self) -> None:
        self.low.reset()
        self.high.reset()
