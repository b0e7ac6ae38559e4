"""Clipped importance sampling policy optimization."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_number
from lightning_gft.functional import Reduction
from lightning_gft.losses.ratio import RatioLoss
from lightning_gft.types import TokenBatch


class CISPOLoss(RatioLoss):
    """CISPO (MiniMax-M1, arXiv 2506.13585): the coefficient is ``A * min(r, epsilon_high)``, ``r = p / p_old``.

    The ratio is limited to a ceiling, but every token keeps its gradient. As in TRL, the ceiling is ``epsilon_high``
    itself and there is no floor. verl limits the ratio to ``[1 - low, 1 + high]``, so that its ``high=4`` is
    ``epsilon_high=5`` here. In the first update on a batch all ratios are 1.

    Three figures are reported: ``cispo_clip_ratio``, the share of trained tokens with a positive advantage and a ratio
    above the ceiling, ``ratio_mean`` and ``ratio_max``.

    Args:
        epsilon_high: Largest ratio; ScaleRL (2510.13786) recommends 5.
        reduction: How the sum over tokens becomes a mean, see :class:`~lightning_gft.GroupLoss`.
        max_completion_length: Number of tokens that each response is divided by with ``reduction="constant-length"``;
            by default the largest ``max_new_tokens`` of the sources that sample.
        mask_truncated_completions: Exclude truncated own samples from the loss and from ``Z``.

    Raises:
        ValueError: If ``epsilon_high`` is below 1.

    Example:
        >>> CISPOLoss().epsilon_high
        5.0
    """

    def __init__(
        self,
        epsilon_high: float = 5.0,
        reduction: Reduction = "token-mean",
        max_completion_length: int | None = None,
        mask_truncated_completions: bool = False,
    ) -> None:
        super().__init__(["cispo_clip_ratio"], reduction, max_completion_length, mask_truncated_completions)
        remedy = "it is the largest ratio itself, not its distance from 1"
        self.epsilon_high = check_number("epsilon_high", epsilon_high, least=1, of=type(self).__name__, remedy=remedy)

    @override
    def coefficients(self, tokens: TokenBatch) -> Tensor:
        return tokens.advantages * self.ratio(tokens).clamp(max=self.epsilon_high)

    @override
    def clipped(self, tokens: TokenBatch) -> tuple[Tensor, ...]:
        return ((self.ratio(tokens) > self.epsilon_high) & (tokens.advantages > 0),)
