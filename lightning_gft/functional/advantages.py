"""Advantages: how much better a response is than the others of its group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lightning_gft.checks import check_number
from lightning_gft.errors import GFTValueError
from lightning_gft.functional.precision import widen

AdvantageScale = Literal["group", "none"]


def group_normalized_advantages(
    rewards: Tensor, group_index: Tensor, eps: float = 1e-6, scale: AdvantageScale = "group"
) -> Tensor:
    """Standardise rewards within each group: ``A = (R - mean) / (std + eps)``, std with ``n - 1``.

    A group whose rewards are all equal gets exactly 0; a group of one gets its reward (mean 0, std 1), since there is
    nothing to compare it to. From "GFT: From Imitation to Reward Fine-Tuning", arXiv 2604.14258; ``scale="none"`` is
    the variant of Dr. GRPO, arXiv 2503.20783.

    Args:
        rewards: ``[N]``, of any numeric dtype.
        group_index: ``[N]`` integers; sequences with the same number form a group, in any order.
        eps: Added to the standard deviation.
        scale: ``"group"`` divides by the group's standard deviation, ``"none"`` leaves it out.

    Returns:
        ``[N]`` advantages.

    Raises:
        ValueError: If shapes differ, a reward is not finite, ``eps`` is negative, or ``scale`` is unknown.
        TypeError: If ``eps`` is not a number.

    Example:
        >>> rewards = torch.tensor([1.0, 0.0, 2.0, 2.0])
        >>> group_normalized_advantages(rewards, torch.tensor([0, 0, 1, 1]))
        tensor([ 0.7071, -0.7071,  0.0000,  0.0000])
    """
    if scale not in ("group", "none"):
        raise GFTValueError(f"`scale`: expected group or none, got {scale!r}; use one")
    eps = check_number("eps", eps, least=0)
    rewards, groups = _check_rewards(rewards, group_index)
    deviation = rewards - groups.mean(rewards)[groups.index]
    if scale == "group":
        deviation = deviation / (groups.std(rewards) + eps)[groups.index]
    # Rounding in the mean must not be blown up by a standard deviation of almost nothing.
    deviation = deviation.masked_fill(groups.all_equal(rewards)[groups.index], 0.0)
    return torch.where(groups.size[groups.index] == 1, rewards, deviation)


def leave_one_out_advantages(rewards: Tensor, group_index: Tensor) -> Tensor:
    """Compare each reward with the mean of the *others* of its group, an unbiased baseline (RLOO, arXiv 2402.14740).

    Args:
        rewards: ``[N]``, of any numeric dtype.
        group_index: ``[N]`` integers; sequences with the same number form a group, in any order.

    Returns:
        ``[N]`` advantages; all-equal groups get exactly 0 and a group of one gets its reward.

    Raises:
        ValueError: If shapes differ or a reward is not finite.

    Example:
        >>> leave_one_out_advantages(torch.tensor([1.0, 0.0, 0.5]), torch.tensor([0, 0, 0]))
        tensor([ 0.7500, -0.7500,  0.0000])
    """
    rewards, groups = _check_rewards(rewards, group_index)
    others = (groups.size - 1).clamp(min=1)[groups.index]
    advantages = rewards - (groups.sum(rewards)[groups.index] - rewards) / others
    advantages = advantages.masked_fill(groups.all_equal(rewards)[groups.index], 0.0)
    return torch.where(groups.size[groups.index] == 1, rewards, advantages)


def self_baseline_advantages(rewards: Tensor, group_index: Tensor, is_self: Tensor) -> Tensor:
    """Compare each reward with the mean over the policy's own samples in its group.

    The group's plain mean mixes fixed demonstrations into the baseline, so a good expert lowers the advantage of every
    own sample. Here only own samples set the bar: each own sample is compared with the other own samples (leave one
    out), each demonstration with all of them. A sequence without any own sample to compare with gets its reward.

    Args:
        rewards: ``[N]``, of any numeric dtype.
        group_index: ``[N]`` integers; sequences with the same number form a group, in any order.
        is_self: ``[N]`` booleans, true for the policy's own samples.

    Returns:
        ``[N]`` advantages; all-equal groups get exactly 0.

    Raises:
        ValueError: If shapes differ or a reward is not finite.

    Example:
        >>> rewards, group = torch.tensor([1.0, 0.0, 0.5]), torch.tensor([0, 0, 0])
        >>> self_baseline_advantages(rewards, group, torch.tensor([False, True, True]))
        tensor([ 0.7500, -0.5000,  0.5000])
    """
    rewards, groups = _check_rewards(rewards, group_index)
    if is_self.shape != rewards.shape:
        raise GFTValueError(
            f"`is_self`: expected the shape of rewards, {tuple(rewards.shape)}, got {tuple(is_self.shape)}; give them"
        )
    own = is_self.to(rewards.dtype)
    others = (groups.sum(own)[groups.index] - own).clamp(min=1)
    baseline = (groups.sum(rewards * own)[groups.index] - rewards * own) / others
    single = groups.size[groups.index] == 1
    all_equal = groups.all_equal(rewards)[groups.index] & ~single
    return (rewards - baseline).masked_fill(all_equal, 0.0)


def group_standard_deviations(rewards: Tensor, group_index: Tensor) -> Tensor:
    """Return the sample standard deviation of each group, in ascending order of the groups' numbers.

    Args:
        rewards: ``[N]``, of any numeric dtype.
        group_index: ``[N]`` integers; sequences with the same number form a group, in any order.

    Returns:
        One value a group; exactly 0 where all rewards are equal.

    Raises:
        ValueError: If shapes differ or a reward is not finite.

    Example:
        >>> group_standard_deviations(torch.tensor([1.0, 0.0, 2.0, 2.0]), torch.tensor([0, 0, 1, 1]))
        tensor([0.7071, 0.0000])
    """
    rewards, groups = _check_rewards(rewards, group_index)
    return groups.std(rewards).masked_fill(groups.all_equal(rewards), 0.0)


def check_rewards(rewards: Tensor) -> Tensor:
    """Return rewards ``[N]`` in a floating dtype of at least fp32.

    Raises:
        ValueError: If a reward is not finite.

    Example:
        >>> check_rewards(torch.tensor([1, 0]))
        tensor([1., 0.])
    """
    rewards = widen(rewards)
    finite = rewards.isfinite()
    if not finite.all():
        row = int((~finite).nonzero()[0])
        raise GFTValueError(f"`rewards[{row}]`: expected a finite number, got {rewards[row].item()}; mend the reward")
    return rewards


@dataclass(frozen=True)
class _Groups:
    """Sums over groups that may be ragged and interleaved; ``index`` numbers them from 0."""

    index: Tensor
    size: Tensor

    def sum(self, values: Tensor) -> Tensor:
        return values.new_zeros(len(self.size)).index_add(0, self.index, values)

    def mean(self, values: Tensor) -> Tensor:
        return self.sum(values) / self.size

    def std(self, values: Tensor) -> Tensor:
        deviation = values - self.mean(values)[self.index]
        return (self.sum(deviation.square()) / (self.size - 1).clamp(min=1)).sqrt()

    def all_equal(self, values: Tensor) -> Tensor:
        shape = values.new_zeros(len(self.size))
        highest = shape.scatter_reduce(0, self.index, values, "amax", include_self=False)
        lowest = shape.scatter_reduce(0, self.index, values, "amin", include_self=False)
        return highest == lowest


def _check_rewards(rewards: Tensor, group_index: Tensor) -> tuple[Tensor, _Groups]:
    if rewards.dim() != 1 or group_index.shape != rewards.shape:
        raise GFTValueError(
            f"`rewards`, `group_index`: expected both [N], got {tuple(rewards.shape)} and {tuple(group_index.shape)}; "
            "give one number a response"
        )
    index, size = torch.unique(group_index, return_inverse=True, return_counts=True)[1:]
    return check_rewards(rewards), _Groups(index, size)
