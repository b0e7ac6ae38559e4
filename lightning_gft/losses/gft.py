"""Group fine-tuning."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from lightning_gft.functional import Reduction
from lightning_gft.losses.base import GroupLoss
from lightning_gft.rectifiers import CoefficientRectifier, DynamicCoefficientRectifier
from lightning_gft.types import TokenBatch


class GFTLoss(GroupLoss):
    """Group Fine-Tuning: the group's advantage times the rectified coefficient, ``A * C(p)`` (arXiv 2604.14258).

    Args:
        rectifier: Default: the paper's, ``DynamicCoefficientRectifier(threshold=0.7)``.
        reduction: What the mean is taken over.

    Example:
        >>> GFTLoss()
        GFTLoss(
          (rectifier): DynamicCoefficientRectifier(threshold=0.7)
        )
    """

    def __init__(self, rectifier: CoefficientRectifier | None = None, reduction: Reduction = "token-mean") -> None:
        super().__init__(rectifier or DynamicCoefficientRectifier(), reduction)

    @override
    def coefficients(self, logprobs: Tensor, tokens: TokenBatch) -> Tensor:
        return tokens.advantages * self.rectifier.rectify(logprobs)
