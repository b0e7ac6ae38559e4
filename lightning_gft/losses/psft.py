"""Proximal supervised fine-tuning."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.functional import Reduction
from lightning_gft.losses.composition import check_demonstrations
from lightning_gft.losses.grpo import GRPOLoss
from lightning_gft.types import GroupBatch, Need, Source, TokenBatch


class PSFTLoss(GRPOLoss):
    """Proximal SFT (arXiv 2508.17784): maximises ``min(r, 1 + epsilon_high)`` on demonstrations, ``r = p / p_old``.

    This is GRPO's objective with an advantage of 1, whatever the rewards: the coefficient is ``r``, and 0 above the
    limit, so that no token moves far in the updates on one batch. In the first of them all ratios are 1, so with
    ``updates_per_batch=1`` it *is* supervised fine-tuning; the paper takes 8. Own samples take no part. Reports the
    figures of :class:`~lightning_gft.GRPOLoss`; the lower clip never acts.

    Args:
        epsilon_high: How far above 1 the ratio may rise.
        reduction: What the mean is taken over.

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
    def takes_part(self, groups: GroupBatch) -> Tensor:
        return groups.source != Source.SELF

    @override
    def can_skip(self, groups: GroupBatch) -> Tensor:
        return torch.zeros_like(groups.source, dtype=torch.bool)

    @override
    def needs(self) -> frozenset[Need]:
        return frozenset({"old_logprobs"})
