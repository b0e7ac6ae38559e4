"""Advantage estimators: what is configured around the functions of :mod:`lightning_gft.functional.advantages`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import get_args

from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_number
from lightning_gft.errors import GFTValueError
from lightning_gft.functional import (
    check_rewards,
    group_normalized_advantages,
    leave_one_out_advantages,
    self_baseline_advantages,
)
from lightning_gft.functional.advantages import AdvantageScale
from lightning_gft.parts import Part
from lightning_gft.types import GroupBatch, Source


class AdvantageEstimator(Part, ABC):
    """Turns the rewards of a batch of groups into advantages."""

    @abstractmethod
    def __call__(self, groups: GroupBatch) -> Tensor:
        """Return advantages ``[N]`` of ``N`` scored responses.

        Args:
            groups: With rewards, group numbers, sources and lengths; its advantages are NaN yet.
        """

    def check_group(self, num_responses: int, num_own: int) -> None:
        """Refuse a group that is too small for the estimate to mean something; by default one of one response.

        Args:
            num_responses: Responses of the group.
            num_own: Those of them that are the policy's own samples.

        Raises:
            ValueError: Says what was expected, and what there is.
        """
        if num_responses < 2:
            name = type(self).__name__
            raise GFTValueError(
                f"expected at least 2 responses a prompt for {name}, which compares them, got {num_responses}"
            )


class GroupNormalizedAdvantage(AdvantageEstimator):
    """The paper's: rewards standardised within their group, whatever their source.

    Args:
        eps: Added to the standard deviation.
        scale: ``"group"`` divides by the group's standard deviation, ``"none"`` leaves it out.

    Raises:
        ValueError: If ``eps`` is negative or ``scale`` unknown.

    Example:
        >>> import torch
        >>> from lightning_gft import GroupBatch
        >>> one, own = torch.ones(2), torch.tensor([0, 2])
        >>> ids = torch.ones(2, 2, dtype=torch.long)
        >>> groups = GroupBatch(ids, ids.bool(), ids.bool(), torch.zeros_like(own), own, own / 2, one, one.bool())
        >>> GroupNormalizedAdvantage()(groups)
        tensor([-0.7071,  0.7071])
    """

    def __init__(self, eps: float = 1e-6, scale: AdvantageScale = "group") -> None:
        self.eps = check_number("eps", eps, least=0, of=type(self).__name__)
        if scale not in get_args(AdvantageScale):
            raise GFTValueError(f"`scale`: expected {' or '.join(get_args(AdvantageScale))}, got {scale!r}; use one")
        self.scale: AdvantageScale = scale

    @override
    def __call__(self, groups: GroupBatch) -> Tensor:
        return group_normalized_advantages(groups.rewards, groups.group_index, eps=self.eps, scale=self.scale)


class LeaveOneOutAdvantage(AdvantageEstimator):
    """Each reward against the mean of the others of its group: an unbiased baseline for independent samples.

    Example:
        >>> LeaveOneOutAdvantage().check_group(num_responses=8, num_own=4)
    """

    @override
    def __call__(self, groups: GroupBatch) -> Tensor:
        return leave_one_out_advantages(groups.rewards, groups.group_index)


class SelfBaselineAdvantage(AdvantageEstimator):
    """Each reward against the mean of the policy's own samples, so that demonstrations do not move the bar.

    Example:
        >>> SelfBaselineAdvantage().check_group(num_responses=8, num_own=2)
    """

    @override
    def __call__(self, groups: GroupBatch) -> Tensor:
        return self_baseline_advantages(groups.rewards, groups.group_index, groups.source == Source.SELF)

    @override
    def check_group(self, num_responses: int, num_own: int) -> None:
        super().check_group(num_responses, num_own)
        if num_own < 2:
            name = type(self).__name__
            raise GFTValueError(f"expected at least 2 own samples a prompt for {name}, the baseline, got {num_own}")


class RewardAdvantage(AdvantageEstimator):
    """The reward itself, without a baseline: what a group of one is left with.

    Example:
        >>> RewardAdvantage().check_group(num_responses=1, num_own=0)
    """

    @override
    def __call__(self, groups: GroupBatch) -> Tensor:
        return check_rewards(groups.rewards)

    @override
    def check_group(self, num_responses: int, num_own: int) -> None:
        pass  # nothing is compared
