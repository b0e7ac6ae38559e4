"""Group fine-tuning."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from lightning_gft.functional import Reduction
from lightning_gft.losses.chosen import Chosen
from lightning_gft.losses.rectified import RectifiedLoss
from lightning_gft.rectifiers import CoefficientRectifier
from lightning_gft.types import GroupBatch, Need, TokenBatch


class GFTLoss(RectifiedLoss):
    """Group Fine-Tuning: the group's advantage times the rectified coefficient, ``A * C(p)`` (arXiv 2604.14258).

    What a rectifier bounds, the weight ``1 / p``, is one of demonstrations: own samples are drawn from ``p`` and have
    none, and rectified they hardly learn which of their unlikely tokens were wrong. So demonstrations alone are
    rectified by default, and the coefficient of own samples is ``A``. The paper rectifies every token:
    ``rectify="all"``. Tokens may be chosen by source, by sign or by both; ``rectify="positive"`` with a rectifier
    ``otherwise`` gives each sign its own threshold.

    Args:
        rectifier: Default: the paper's, ``DynamicCoefficientRectifier(threshold=0.7)``.
        reduction: What the mean is taken over.
        rectify: The tokens that ``rectifier`` is for: those of ``"demonstrations"`` or ``"own"`` samples, those of
            ``"positive"`` or ``"negative"`` advantage, both as in ``"positive_demonstrations"``, or ``"all"``.
        otherwise: The rectifier of all other tokens, whose figures begin with ``otherwise/``; by default they are not
            rectified.
        max_completion_length: Divides each response with ``reduction="constant-length"``.

    Raises:
        ValueError: If ``rectify`` is unknown, or leaves no tokens to ``otherwise``.

    Example:
        >>> GFTLoss()
        GFTLoss(
          (rectifier): DynamicCoefficientRectifier(threshold=0.7)
          (otherwise): IdentityRectifier()
        )
        >>> GFTLoss(rectify="all")  # GFT as published
        GFTLoss(
          (rectifier): DynamicCoefficientRectifier(threshold=0.7)
        )
    """

    def __init__(
        self,
        rectifier: CoefficientRectifier | None = None,
        reduction: Reduction = "token-mean",
        rectify: Chosen = "demonstrations",
        otherwise: CoefficientRectifier | None = None,
        max_completion_length: int | None = None,
    ) -> None:
        super().__init__(rectifier, reduction, rectify, otherwise, max_completion_length)

    @override
    def coefficients(self, tokens: TokenBatch) -> Tensor:
        return tokens.advantages * self.rectified(tokens)

    @override
    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        self.count(tokens, self.factors(tokens, coefficients))

    @override
    def can_skip(self, groups: GroupBatch) -> Tensor:
        return groups.advantages == 0

    @override
    def needs(self) -> frozenset[Need]:
        return frozenset({"advantages"})
