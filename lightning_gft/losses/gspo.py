"""Group sequence policy optimization."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from lightning_gft.losses.grpo import GRPOLoss
from lightning_gft.types import Need, TokenBatch


class GSPOLoss(GRPOLoss):
    """GSPO (arXiv 2507.18071): GRPO with one ratio a response, ``s = exp(mean_t(log p_t - log p_old_t))``.

    Maximises ``min(s * A, clip(s, 1 - epsilon, 1 + epsilon_high) * A)``: the coefficient of all tokens of a response is
    ``A * s``, or 0 where ``s`` is clipped. The mean is over responses, as the objective's own ``1 / length`` asks.
    Reports the figures of :class:`~lightning_gft.GRPOLoss`, of responses instead of tokens.

    Args:
        epsilon: How far below 1 the ratio may fall where the advantage is negative; the paper's is small, as a mean
            over a response moves little.
        epsilon_high: How far above 1 it may rise where the advantage is positive; default: ``epsilon``.
        mask_truncated_completions: Neither train on own samples that did not end before their limit, nor count them.

    Raises:
        ValueError: If a number is outside its range.

    Example:
        >>> sorted(GSPOLoss().needs())
        ['advantages', 'sequence_logratio']
    """

    def __init__(
        self, epsilon: float = 3e-4, epsilon_high: float | None = 4e-4, mask_truncated_completions: bool = False
    ) -> None:
        super().__init__(epsilon, epsilon_high, mask_truncated_completions=mask_truncated_completions)

    @override
    def needs(self) -> frozenset[Need]:
        return frozenset({"advantages", "sequence_logratio"})

    @override
    def logratio(self, tokens: TokenBatch) -> Tensor:
        assert tokens.sequence_logratio is not None  # noqa: S101 (stated above)
        return tokens.sequence_logratio

    @override
    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        first = tokens.position == 0
        super().update(tokens[first], coefficients[first])
