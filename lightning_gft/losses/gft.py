"""Group fine-tuning."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from lightning_gft.functional import Reduction
from lightning_gft.losses.base import GroupLoss
from lightning_gft.rectifiers import CoefficientRectifier, DynamicCoefficientRectifier
from lightning_gft.types import GroupBatch, Need, TokenBatch


class GFTLoss(GroupLoss):
    """Group Fine-Tuning: the group's advantage times the rectified coefficient, ``A * C(p)`` (arXiv 2604.14258).

    Args:
        rectifier: Default: the paper's, ``DynamicCoefficientRectifier(threshold=0.7)``;
            :class:`~lightning_gft.IdentityRectifier` leaves rectification out.
        reduction: What the mean is taken over.

    Example:
        >>> GFTLoss()
        GFTLoss(
          (rectifier): DynamicCoefficientRectifier(threshold=0.7)
        )
    """

    def __init__(self, rectifier: CoefficientRectifier | None = None, reduction: Reduction = "token-mean") -> None:
        super().__init__(reduction)
        self.rectifier = rectifier or DynamicCoefficientRectifier()

    @override
    def coefficients(self, tokens: TokenBatch) -> Tensor:
        return tokens.advantages * self.rectifier.rectify(tokens.logprobs)

    @override
    def can_skip(self, groups: GroupBatch) -> Tensor:
        return groups.advantages == 0

    @override
    def needs(self) -> frozenset[Need]:
        return frozenset({"advantages"})

    @override
    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        # A * 1 / A is exactly 1; with an advantage of 0 the quotient is NaN, and the token is not counted.
        self.rectifier.update(tokens.logprobs, coefficients / tokens.advantages)

    @override
    def compute(self) -> dict[str, Tensor | float]:
        return dict(self.rectifier.compute())

    @override
    def reset(self) -> None:
        self.rectifier.reset()

    @override
    def step(self) -> None:
        self.rectifier.step()
