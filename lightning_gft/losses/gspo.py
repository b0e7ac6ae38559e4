"""Group sequence policy optimization (GSPO)."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from lightning_gft.losses.grpo import GRPOLoss
from lightning_gft.types import Need, TokenBatch


class GSPOLoss(GRPOLoss):
    """GSPO (arXiv 2507.18071): GRPO with one ratio per response, ``s = exp(mean_t(log p_t - log p_old_t))``.

    GSPO maximises ``min(s * A, clip(s, 1 - epsilon, 1 + epsilon_high) * A)``. The coefficient of all tokens of a
    response is ``A * s``, or 0 where ``s`` is clipped. The mean is over responses, because the gradient of ``log s``
    contains ``1 / length``. The figures are those of :class:`~lightning_gft.GRPOLoss`, counted over responses instead
    of tokens.

    Args:
        epsilon: Distance that the ratio may fall below 1 where the advantage is negative. The paper's is small, because
            a mean over a response changes little.
        epsilon_high: Distance that it may rise above 1 where the advantage is positive; ``None`` takes ``epsilon``.
        mask_truncated_completions: Exclude truncated own samples from the loss and from ``Z``.

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
