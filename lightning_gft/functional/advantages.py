"""Advantages: how much better a response is than the others of its group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_gft.checks import check_choice, check_number
from lightning_gft.errors import GFTValueError
from lightning_gft.functional.precision import widen

AdvantageScale = Literal["group", "batch", "none"]


def group_normalized_advantages(
    rewards: Tensor,
    group_index: Tensor,
    eps: float = 1e-6,
    scale: AdvantageScale = "group",
    is_self: Tensor | None = None,
    batch_rewards: Tensor | None = None,
) -> Tensor:
    """Standardise rewards within each group: ``A = (R - mean) / (std + eps)``, std with ``n - 1``.

    A group whose rewards are all equal gets exactly 0. A group of one gets its reward (mean 0, std 1), since it has
    no other response to compare with. From "GFT: From Imitation to Reward Fine-Tuning", arXiv 2604.14258, as GRPO,
    arXiv 2402.03300. ``scale="none"`` is the variant of Dr. GRPO, arXiv 2503.20783; ``scale="batch"`` that of Lite
    PPO, arXiv 2508.08221: mean of the group, standard deviation of the batch. The names follow TRL's ``scale_rewards``.

    With ``is_self``, mean and standard deviation are those of the policy's own samples, which demonstrations are
    compared with. A group without own samples gets its rewards. Own samples that are all equal, or a single one, have
    no scale, so the difference from them is the advantage.

    Args:
        rewards: ``[N]`` rewards of any numeric dtype.
        group_index: ``[N]`` integers; sequences with the same number form a group, in any order.
        eps: Added to the standard deviation.
        scale: ``"group"`` divides by the group's standard deviation, ``"batch"`` by that of all rewards, and ``"none"``
            does not divide.
        is_self: ``[N]`` booleans, true for the policy's own samples; ``None`` compares with the whole group.
        batch_rewards: ``[B]`` rewards whose standard deviation ``scale="batch"`` divides by, where ``rewards`` are one
            rank's share of the batch; by default ``rewards``, or with ``is_self`` those of own samples.

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
    check_choice("scale", scale, get_args(AdvantageScale))
    eps = check_number("eps", eps, least=0)
    rewards, groups = _check_rewards(rewards, group_index)
    counted, base = rewards, groups
    if is_self is not None:
        _check_is_self(is_self, rewards)
        counted, base = rewards[is_self], groups.among(is_self)
    # A standard deviation of almost 0 must not amplify the rounding error of the mean.
    equal, highest = base.all_equal(counted), base.highest(counted)
    deviation = rewards - torch.where(equal, highest, base.mean(counted))[groups.index]
    if scale == "group":
        deviation = deviation / torch.where(equal, 1.0, base.std(counted) + eps)[groups.index]
    elif scale == "batch":
        deviation = deviation / _spread(counted if batch_rewards is None else check_rewards(batch_rewards), eps)
    all_equal = groups.all_equal(rewards)
    alone = (groups.size == 1) | ((base.size == 0) & ~all_equal)
    return torch.where(alone[groups.index], rewards, deviation.masked_fill(all_equal[groups.index], 0.0))


def max_rl_advantages(rewards: Tensor, group_index: Tensor) -> Tensor:
    """Compare each reward with the mean of its group, relative to it: ``A = (R - mean) / mean`` (MaxRL, 2602.02710).

    This is the gradient of the *logarithm* of the probability of a right answer, while ``R - mean`` alone is that of
    the probability: the fewer of a prompt's responses are right, the more each counts. The paper averages the scores of
    the right samples and subtracts the mean score of all samples, so with rewards of 0 and 1 the ``k`` right ones of
    ``n`` get ``(n - k) / k`` and the wrong ones -1. Without any right sample its estimate is 0, like that of a group
    that is all right. The paper has own samples alone; demonstrations count in the mean like samples.

    Args:
        rewards: ``[N]`` rewards of any numeric dtype, at least 0.
        group_index: ``[N]`` integers; sequences with the same number form a group, in any order.

    Returns:
        ``[N]`` advantages; all-equal groups get exactly 0 and a group of one gets its reward.

    Raises:
        ValueError: If shapes differ, or a reward is not finite or is negative: where rewards of both signs have a mean
            near 0, the ratio has no meaning and no bound.

    Example:
        >>> max_rl_advantages(torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.tensor([0, 0, 0, 0]))
        tensor([ 3., -1., -1., -1.])
    """
    rewards, groups = _check_rewards(rewards, group_index)
    if (negative := rewards < 0).any():
        row = int(negative.nonzero()[0])
        raise GFTValueError(
            f"`rewards`: expected at least 0 for MaxRL, got {rewards[row].item():.4g} for response {row} of the batch; "
            "make rewards start at 0, and leave penalties out"
        )
    mean = groups.mean(rewards)[groups.index]
    equal = groups.all_equal(rewards)[groups.index]
    advantages = ((rewards - mean) / mean).masked_fill(equal, 0.0)  # a mean of 0 means that all rewards are 0
    return torch.where(groups.size[groups.index] == 1, rewards, advantages)


def leave_one_out_advantages(rewards: Tensor, group_index: Tensor) -> Tensor:
    """Compare each reward with the mean of the *others* of its group, an unbiased baseline (RLOO, arXiv 2402.14740).

    Args:
        rewards: ``[N]`` rewards of any numeric dtype.
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
    own sample. Here only own samples set the baseline: each own sample is compared with the other own samples (leave
    one out), each demonstration with all of them. A sequence without an own sample to compare with gets its reward.

    Args:
        rewards: ``[N]`` rewards of any numeric dtype.
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
    _check_is_self(is_self, rewards)
    own = is_self.to(rewards.dtype)
    others = (groups.sum(own)[groups.index] - own).clamp(min=1)
    baseline = (groups.sum(rewards * own)[groups.index] - rewards * own) / others
    single = groups.size[groups.index] == 1
    all_equal = groups.all_equal(rewards)[groups.index] & ~single
    return (rewards - baseline).masked_fill(all_equal, 0.0)


def group_standard_deviations(rewards: Tensor, group_index: Tensor) -> Tensor:
    """Return the sample standard deviation of each group, in ascending order of the groups' numbers.

    Args:
        rewards: ``[N]`` rewards of any numeric dtype.
        group_index: ``[N]`` integers; sequences with the same number form a group, in any order.

    Returns:
        One value per group, exactly 0 where all rewards are equal.

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
        raise GFTValueError(f"`rewards[{row}]`: expected a finite number, got {rewards[row].item()}; fix the reward")
    return rewards


@dataclass(frozen=True)
class _Groups:
    """Sums over groups, which may be ragged and interleaved; ``index`` numbers them from 0."""

    index: Tensor
    size: Tensor

    def sum(self, values: Tensor) -> Tensor:
        return values.new_zeros(len(self.size)).index_add(0, self.index, values)

    def mean(self, values: Tensor) -> Tensor:
        return self.sum(values) / self.size

    def std(self, values: Tensor) -> Tensor:
        deviation = values - self.mean(values)[self.index]
        return (self.sum(deviation.square()) / (self.size - 1).clamp(min=1)).sqrt()

    def highest(self, values: Tensor) -> Tensor:
        return values.new_zeros(len(self.size)).scatter_reduce(0, self.index, values, "amax", include_self=False)

    def all_equal(self, values: Tensor) -> Tensor:
        return self.highest(values) == -self.highest(-values)

    def among(self, chosen: Tensor) -> _Groups:
        """Return the same groups with only the chosen sequences, so that a group may be empty."""
        return _Groups(self.index[chosen], self.size.new_zeros(len(self.size)).index_add(0, self.index, chosen.long()))


def _spread(rewards: Tensor, eps: float) -> Tensor:
    """Return the divisor of ``scale="batch"``: 1 if all rewards are equal."""
    return rewards.double().std() + eps if len(rewards.unique()) > 1 else rewards.new_ones(())


def _check_is_self(is_self: Tensor, rewards: Tensor) -> None:
    if is_self.shape != rewards.shape:
        raise GFTValueError(
            f"`is_self`: expected the shape of rewards, {tuple(rewards.shape)}, got {tuple(is_self.shape)}; give one "
            "boolean per response"
        )


def _check_rewards(rewards: Tensor, group_index: Tensor) -> tuple[Tensor, _Groups]:
    if rewards.dim() != 1 or group_index.shape != rewards.shape:
        raise GFTValueError(
            f"`rewards`, `group_index`: expected both [N], got {tuple(rewards.shape)} and {tuple(group_index.shape)}; "
            "give one number per response"
        )
    index, size = torch.unique(group_index, return_inverse=True, return_counts=True)[1:]
    return check_rewards(rewards), _Groups(index, size)
