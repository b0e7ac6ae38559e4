"""The base class of objectives that imitate demonstrations."""

from __future__ import annotations

from typing_extensions import override

from lightning_gft.functional import Reduction
from lightning_gft.losses.base import GroupLoss
from lightning_gft.losses.composition import DEMONSTRATIONS, check_demonstrations
from lightning_gft.types import Source


class ImitationLoss(GroupLoss):
    """An objective on demonstrations only, regardless of their rewards.

    Args:
        reduction: How the sum over tokens becomes a mean, see :class:`~lightning_gft.GroupLoss`.
    """

    def __init__(self, reduction: Reduction = "token-mean") -> None:
        super().__init__(reduction)

    @override
    def trains_on(self) -> frozenset[Source]:
        return DEMONSTRATIONS

    @override
    def check_group(self, num_responses: int, num_own: int) -> None:
        check_demonstrations(self, num_responses, num_own)
