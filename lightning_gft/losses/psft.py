"""Proximal supervised fine-tuning (PSFT)."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.functional import Reduction
from lightning_gft.losses.composition import DEMONSTRATIONS, check_demonstrations
from lightning_gft.losses.grpo import GRPOLoss
from lightning_gft.types import GroupBatch, Need, Source, TokenBatch


class PSFTLoss(GRPOLoss):
    """Proximal SFT (arXiv 2508.17784): maximises ``min(r, 1 + epsilon_high)`` on demonstrations, ``r = p / p_old``.

    This is GRPO's objective with an advantage of 1, regardless of rewards. The coefficient is ``r``, and 0 above the
    limit, which bounds the change of a token's probability in the updates on one batch. In the first update all ratios
    are 1, so with ``updates_per_batch=1`` it is identical to supervised fine-tuning; the paper uses 8. Own samples are
    not trained on. The figures are those of :class:`~lightning_gft.GRPOLoss`; ratios are never clipped below.

    Args:
        epsilon_high: Distance that the ratio may rise above 1.
        reduction: How the sum over tokens becomes a mean, see :class:`~lightning_gft.GroupLoss`.

    Raises:
        ValueError: If ``epsilon_high`` is negative.

    Example:
        >>> PSFTLoss().needs()
        frozenset({'old_logprobs'})
    """

    def __init__(self, epsilon_high: float = 0.28, reduction: Reduction = "token-mean") -> None:
        super().__init__(epsilon_high=epsilon_high, reduction=reduction)

    @override
    def advantages(self, tokens: TokenBatch) -> Tensor:
        return torch.ones_like(tokens.logprobs)

    @override
    def check_group(self, num_responses: int, num_own: int) -> None:
        check_demonstrations(self, num_responses, num_own)

    @override
    def trains_on(self) -> frozenset[Source]:
        return DEMONSTRATIONS

    @override
    def can_skip(self, groups: GroupBatch) -> Tensor:
        return torch.zeros_like(groups.source, dtype=torch.bool)

    @override
    def needs(self) -> frozenset[Need]:
        return frozenset({"old_logprobs"})
