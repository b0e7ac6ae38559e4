"""Objectives that imitate demonstrations."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from lightning_gft.functional import Reduction
from lightning_gft.losses.base import GroupLoss
from lightning_gft.losses.composition import check_demonstrations
from lightning_gft.metrics import CoefficientStatistics
from lightning_gft.types import GroupBatch, Source, TokenBatch


class ImitationLoss(GroupLoss):
    """Demonstrations alone count, whatever their rewards; reports what its coefficients leave of ``1 / p``.

    Args:
        reduction: What the mean is taken over.
    """

    def __init__(self, reduction: Reduction = "token-mean") -> None:
        super().__init__(reduction)
        self.statistics = CoefficientStatistics()

    @override
    def takes_part(self, groups: GroupBatch) -> Tensor:
        return groups.source != Source.SELF

    @override
    def check_group(self, num_responses: int, num_own: int) -> None:
        check_demonstrations(self, num_responses, num_own)

    @override
    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        self.statistics.update(tokens.logprobs, coefficients)

    @override
    def compute(self) -> dict[str, Tensor | float]:
        return dict(self.statistics.compute())

    @override
    def reset(self) -> None:
        self.statistics.reset()
