"""Advantage estimators: configurable parts around the functions of :mod:`lightning_gft.functional.advantages`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_choice, check_number
from lightning_gft.errors import GFTValueError
from lightning_gft.functional import (
    check_rewards,
    group_normalized_advantages,
    leave_one_out_advantages,
    max_rl_advantages,
    self_baseline_advantages,
)
from lightning_gft.functional.advantages import AdvantageScale
from lightning_gft.parts import Part
from lightning_gft.rewards import Reward
from lightning_gft.types import GroupBatch, Source


class AdvantageEstimator(Part, ABC):
    """Computes advantages from the rewards of a batch of groups."""

    @abstractmethod
    def __call__(self, groups: GroupBatch) -> Tensor:
        """Return the advantages ``[N]`` of ``N`` scored responses.

        Args:
            groups: Batch with rewards, group numbers, sources and lengths; its advantages are still NaN.
        """

    def check_rewards(self, rewards: Mapping[str, Reward]) -> None:
        """Raise an error for rewards that the estimator cannot use; by default it accepts all.

        Args:
            rewards: The sampler's rewards by name.

        Raises:
            ValueError: If a reward cannot be used, with its name.
        """

    def check_group(self, num_responses: int, num_own: int) -> None:
        """Raise an error for a group that is too small for the estimator; by default one of a single response.

        Args:
            num_responses: Number of responses of the group.
            num_own: Number of the policy's own samples among them.

        Raises:
            ValueError: If the group is too small, with the expected and the actual number.
        """
        if num_responses < 2:
            name = type(self).__name__
            raise GFTValueError(
                f"expected at least 2 responses a prompt for {name}, which compares them, got {num_responses}"
            )


class GroupNormalizedAdvantage(AdvantageEstimator):
    """The paper's advantage: rewards standardised within their group, whatever their source.

    Three papers differ in ``scale``: ``"group"`` is GRPO's (arXiv 2402.03300) and this method's, ``"none"`` is Dr.
    GRPO's (2503.20783), ``"batch"`` is Lite PPO's (2508.08221). LUFFY (2504.14945) standardises the whole mixed group
    without a scale. Objectives that compare own samples only, such as CHORD (2508.11408) and HPT (2509.04419), set
    ``over="own"``.

    With ``scale="batch"`` the standard deviation is that of the step's rewards on all ranks, so during training all
    ranks must call the estimator together, as the sampler does. Without gradients, as in ``predict``, ranks do not run
    in step, and the standard deviation is that of the rank's own batch.

    Args:
        eps: Constant added to the standard deviation.
        scale: ``"group"`` divides by the group's standard deviation, ``"batch"`` by that of all rewards of the step,
            ``"none"`` does not divide.
        over: Responses behind the mean and the standard deviation: the whole ``"group"``, or the policy's ``"own"``
            samples.

    Raises:
        ValueError: If ``eps`` is negative, or ``scale`` or ``over`` is unknown.

    Example:
        >>> import torch
        >>> from lightning_gft import GroupBatch
        >>> one, own = torch.ones(2), torch.tensor([0, 2])
        >>> ids = torch.ones(2, 2, dtype=torch.long)
        >>> groups = GroupBatch(ids, ids.bool(), ids.bool(), torch.zeros_like(own), own, own / 2, one, one.bool())
        >>> GroupNormalizedAdvantage()(groups)
        tensor([-0.7071,  0.7071])
    """

    def __init__(
        self,
        eps: float = 1e-6,
        scale: AdvantageScale = "group",
        over: Literal["group", "own"] = "group",
    ) -> None:
        self.eps = check_number("eps", eps, least=0, of=type(self).__name__)
        check_choice("scale", scale, get_args(AdvantageScale), of=type(self).__name__)
        check_choice("over", over, ("group", "own"), of=type(self).__name__)
        self.scale, self.over = scale, over

    @override
    def __call__(self, groups: GroupBatch) -> Tensor:
        own = groups.source == Source.SELF if self.over == "own" else None
        counted = groups.rewards if own is None else groups.rewards[own]
        batch = _of_all_ranks(counted) if self.scale == "batch" else None
        return group_normalized_advantages(groups.rewards, groups.group_index, self.eps, self.scale, own, batch)

    @override
    def check_group(self, num_responses: int, num_own: int) -> None:
        super().check_group(num_responses, num_own)
        if self.over == "own":
            _check_own_samples(self, num_own)


class LeaveOneOutAdvantage(AdvantageEstimator):
    """Each reward minus the mean of the others in its group: an unbiased baseline for independent samples.

    This is RLOO, arXiv 2402.14740.

    Example:
        >>> LeaveOneOutAdvantage().check_group(num_responses=8, num_own=4)
    """

    @override
    def __call__(self, groups: GroupBatch) -> Tensor:
        return leave_one_out_advantages(groups.rewards, groups.group_index)


class SelfBaselineAdvantage(AdvantageEstimator):
    """Each reward minus the mean of the policy's own samples, so that demonstrations do not move the baseline.

    An own sample is compared with the *other* own samples, as in RLOO. For the mean of all own samples use
    ``GroupNormalizedAdvantage(over="own", scale="none")``.

    Example:
        >>> SelfBaselineAdvantage().check_group(num_responses=8, num_own=2)
    """

    @override
    def __call__(self, groups: GroupBatch) -> Tensor:
        return self_baseline_advantages(groups.rewards, groups.group_index, groups.source == Source.SELF)

    @override
    def check_group(self, num_responses: int, num_own: int) -> None:
        super().check_group(num_responses, num_own)
        _check_own_samples(self, num_own)


class MaxRLAdvantage(AdvantageEstimator):
    """Each reward minus the mean of its group, divided by that mean (MaxRL, arXiv 2602.02710).

    The fewer of a prompt's responses are right, the more each right one counts; a group without any gets 0. Rewards
    must be at least 0. See :func:`~lightning_gft.functional.max_rl_advantages`.

    Example:
        >>> MaxRLAdvantage().check_group(num_responses=8, num_own=8)
    """

    @override
    def check_rewards(self, rewards: Mapping[str, Reward]) -> None:
        for name, reward in rewards.items():
            if reward.weight < 0 or (reward.weight > 0 and not reward.measures()):
                raise GFTValueError(
                    f"`rewards.{name}`: expected a reward of at least 0 for MaxRLAdvantage, got a penalty, "
                    f"{type(reward).__name__}; leave it out, or use another advantage"
                )

    @override
    def __call__(self, groups: GroupBatch) -> Tensor:
        return max_rl_advantages(groups.rewards, groups.group_index)


class RewardAdvantage(AdvantageEstimator):
    """The reward itself, without a baseline; also works for groups of a single response.

    Example:
        >>> RewardAdvantage().check_group(num_responses=1, num_own=0)
    """

    @override
    def __call__(self, groups: GroupBatch) -> Tensor:
        return check_rewards(groups.rewards)

    @override
    def check_group(self, num_responses: int, num_own: int) -> None:
        pass  # no responses are compared


def _check_own_samples(estimator: AdvantageEstimator, num_own: int) -> None:
    if num_own < 2:
        name = type(estimator).__name__
        raise GFTValueError(f"expected at least 2 own samples a prompt for {name}, the baseline, got {num_own}")


def _of_all_ranks(rewards: Tensor) -> Tensor:
    """Return the rewards of all ranks during training, otherwise those of this rank."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized() and torch.is_grad_enabled()):
        return rewards
    ranks: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(ranks, rewards.tolist())  # ranks may have different numbers of rewards
    return rewards.new_tensor([reward for own in ranks for reward in own])
