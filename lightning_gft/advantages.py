"""Advantage estimators: what is configured around the functions of :mod:`lightning_gft.functional.advantages`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, get_args

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
from lightning_gft.types import Source


class AdvantageEstimator(ABC):
    """Turns the rewards of a batch of groups into advantages.

    Attributes:
        min_group_size: Smallest group for which the estimate means something; smaller groups are refused at start.
        min_own_samples: Fewest samples of the policy in a group for which it does, likewise.
    """

    min_group_size: ClassVar[int] = 2
    min_own_samples: ClassVar[int] = 0

    @abstractmethod
    def __call__(self, rewards: Tensor, group_index: Tensor, source: Tensor) -> Tensor:
        """Return advantages ``[N]`` for rewards ``[N]``, groups given by number ``[N]`` and sources ``[N]``."""


class GroupNormalizedAdvantage(AdvantageEstimator):
    """The paper's: rewards standardised within their group, whatever their source.

    Args:
        eps: Added to the standard deviation.
        scale: ``"group"`` divides by the group's standard deviation, ``"none"`` leaves it out.

    Raises:
        ValueError: If ``eps`` is negative or ``scale`` unknown.

    Example:
        >>> import torch
        >>> estimate = GroupNormalizedAdvantage()
        >>> estimate(torch.tensor([1.0, 0.0]), torch.tensor([0, 0]), torch.tensor([0, 2]))
        tensor([ 0.7071, -0.7071])
    """

    def __init__(self, eps: float = 1e-6, scale: AdvantageScale = "group") -> None:
        self.eps = check_number("eps", eps, least=0, of=type(self).__name__)
        if scale not in get_args(AdvantageScale):
            raise GFTValueError(f"scale={scale!r} is unknown; use one of {', '.join(get_args(AdvantageScale))}")
        self.scale: AdvantageScale = scale

    @override
    def __call__(self, rewards: Tensor, group_index: Tensor, source: Tensor) -> Tensor:
        return group_normalized_advantages(rewards, group_index, eps=self.eps, scale=self.scale)


class LeaveOneOutAdvantage(AdvantageEstimator):
    """Each reward against the mean of the others of its group: an unbiased baseline for independent samples.

    Example:
        >>> import torch
        >>> LeaveOneOutAdvantage()(torch.tensor([1.0, 0.0]), torch.tensor([0, 0]), torch.tensor([0, 2]))
        tensor([ 1., -1.])
    """

    @override
    def __call__(self, rewards: Tensor, group_index: Tensor, source: Tensor) -> Tensor:
        return leave_one_out_advantages(rewards, group_index)


class SelfBaselineAdvantage(AdvantageEstimator):
    """Each reward against the mean of the policy's own samples, so that demonstrations do not move the bar.

    Example:
        >>> import torch
        >>> SelfBaselineAdvantage()(torch.tensor([1.0, 0.0]), torch.tensor([0, 0]), torch.tensor([0, 2]))
        tensor([1., 0.])
    """

    min_own_samples: ClassVar[int] = 2

    @override
    def __call__(self, rewards: Tensor, group_index: Tensor, source: Tensor) -> Tensor:
        return self_baseline_advantages(rewards, group_index, source == Source.SELF)


class RewardAdvantage(AdvantageEstimator):
    """The reward itself, without a baseline: what a group of one is left with.

    Example:
        >>> import torch
        >>> RewardAdvantage()(torch.tensor([1.0]), torch.tensor([0]), torch.tensor([0]))
        tensor([1.])
    """

    min_group_size: ClassVar[int] = 1

    @override
    def __call__(self, rewards: Tensor, group_index: Tensor, source: Tensor) -> Tensor:
        return check_rewards(rewards)
