"""Group Fine-Tuning (GFT)."""

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

    A rectifier bounds the token weight ``1 / p``, which is a problem of demonstrations. Own samples are drawn from
    ``p``, so that in expectation ``1 / p`` cancels; with rectified coefficients they hardly learn which of their
    unlikely tokens were wrong. By default only demonstrations are rectified, and the coefficient of own samples is
    ``A``. The paper rectifies every token, with a higher threshold: ``rectify="all"`` with 0.7. Tokens can be chosen by
    source, by sign or by both; ``rectify="positive"`` with a rectifier ``otherwise`` gives each sign its own threshold.

    Args:
        rectifier: Rectifier of the chosen tokens; default: ``DynamicCoefficientRectifier(threshold=0.1)``.
        reduction: How the sum over tokens becomes a mean, see :class:`~lightning_gft.GroupLoss`.
        rectify: The tokens that ``rectifier`` applies to: tokens of ``"demonstrations"`` or ``"own"`` samples, tokens
            of ``"positive"`` or ``"negative"`` advantage, a combination such as ``"positive_demonstrations"``, or
            ``"all"``, which with the default threshold is not the paper's loss.
        otherwise: Rectifier of all other tokens, which are not rectified by default. Its figures begin with
            ``otherwise/``.
        max_completion_length: Number of tokens that each response is divided by with ``reduction="constant-length"``;
            by default the largest ``max_new_tokens`` of the sources that sample.

    Raises:
        ValueError: If ``rectify`` is unknown, or ``otherwise`` is given with ``rectify="all"``.

    Example:
        >>> GFTLoss()
        GFTLoss(
          (rectifier): DynamicCoefficientRectifier(threshold=0.1)
          (otherwise): IdentityRectifier()
        )
        >>> from lightning_gft import DynamicCoefficientRectifier
        >>> GFTLoss(DynamicCoefficientRectifier(0.7), rectify="all")  # GFT as published
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
