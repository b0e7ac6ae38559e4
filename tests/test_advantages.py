from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from jsonargparse import ArgumentError, ArgumentParser

from lightning_gft import ExactMatchReward, GroupSampler, SelfSource, SoftOverlongReward
from lightning_gft.advantages import (
    AdvantageEstimator,
    GroupNormalizedAdvantage,
    LeaveOneOutAdvantage,
    MaxRLAdvantage,
    RewardAdvantage,
    SelfBaselineAdvantage,
)
from lightning_gft.types import GroupBatch, Source
from tests import reference

ESTIMATORS = {
    "group": (GroupNormalizedAdvantage(), lambda r, g, s: reference.group_normalized(r, g)),
    "group-eps": (GroupNormalizedAdvantage(eps=0.5), lambda r, g, s: reference.group_normalized(r, g, eps=0.5)),
    "no-scale": (
        GroupNormalizedAdvantage(scale="none"),
        lambda r, g, s: reference.group_normalized(r, g, scale="none"),
    ),
    "batch-scale": (
        GroupNormalizedAdvantage(scale="batch"),
        lambda r, g, s: reference.group_normalized(r, g, scale="batch"),
    ),
    "own": (
        GroupNormalizedAdvantage(over="own"),
        lambda r, g, s: reference.group_normalized(r, g, is_self=[source == Source.SELF for source in s]),
    ),
    "own-batch-scale": (
        GroupNormalizedAdvantage(scale="batch", over="own"),
        lambda r, g, s: reference.group_normalized(
            r, g, scale="batch", is_self=[source == Source.SELF for source in s]
        ),
    ),
    "leave-one-out": (LeaveOneOutAdvantage(), lambda r, g, s: reference.leave_one_out(r, g)),
    "self-baseline": (
        SelfBaselineAdvantage(),
        lambda r, g, s: reference.self_baseline(r, g, [source == Source.SELF for source in s]),
    ),
    "reward": (RewardAdvantage(), lambda r, g, s: r),
}
every_estimator = pytest.mark.parametrize(("estimator", "oracle"), ESTIMATORS.values(), ids=ESTIMATORS.keys())


def scored(rewards: torch.Tensor) -> GroupBatch:
    """Return one group of three responses, two of them the policy's own."""
    groups, _ = reference.random_groups(sizes=(3,))
    return replace(groups, rewards=rewards, source=torch.tensor([0, 2, 2]))


@every_estimator
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_loops(estimator: AdvantageEstimator, oracle, seed: int):
    groups, _ = reference.random_groups(seed)
    actual = estimator(groups)
    expected = oracle(groups.rewards.tolist(), groups.group_index.tolist(), groups.source.tolist())
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-10)


@every_estimator
@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_advantages_are_at_least_fp32(estimator: AdvantageEstimator, oracle, dtype: torch.dtype):
    assert estimator(scored(torch.tensor([1, 0, 1]).to(dtype))).dtype == torch.float32


@every_estimator
def test_reward_that_is_not_finite_is_refused(estimator: AdvantageEstimator, oracle):
    with pytest.raises(ValueError, match="expected a finite number"):
        estimator(scored(torch.tensor([1.0, float("nan"), 1.0])))


@every_estimator
def test_smallest_group_that_means_something(estimator: AdvantageEstimator, oracle):
    estimator.check_group(num_responses=2, num_own=2)
    if isinstance(estimator, RewardAdvantage):
        estimator.check_group(num_responses=1, num_own=0)
        return
    name = type(estimator).__name__
    with pytest.raises(ValueError, match=rf"expected at least 2 responses a prompt for {name}, .*, got 1"):
        estimator.check_group(num_responses=1, num_own=1)


@pytest.mark.parametrize("estimator", [SelfBaselineAdvantage(), GroupNormalizedAdvantage(over="own")])
def test_a_baseline_of_own_samples_needs_two_of_them(estimator: AdvantageEstimator):
    name = type(estimator).__name__
    with pytest.raises(ValueError, match=rf"at least 2 own samples a prompt for {name}.*, got 1"):
        estimator.check_group(num_responses=9, num_own=1)
    GroupNormalizedAdvantage().check_group(num_responses=9, num_own=1)


def test_unknown_choices_are_named():
    with pytest.raises(
        ValueError, match="`scale` of GroupNormalizedAdvantage: expected group, batch or none, got 'std'"
    ):
        GroupNormalizedAdvantage(scale="std")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`over` of GroupNormalizedAdvantage: expected group or own, got 'self'"):
        GroupNormalizedAdvantage(over="self")  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(3))
def test_max_rl_agrees_with_loops(seed: int):
    groups, _ = reference.random_groups(seed)
    groups = replace(groups, rewards=groups.rewards.abs())
    expected = reference.max_rl(groups.rewards.tolist(), groups.group_index.tolist())
    torch.testing.assert_close(MaxRLAdvantage()(groups).tolist(), expected, rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="at least 2 responses a prompt for MaxRLAdvantage"):
        MaxRLAdvantage().check_group(num_responses=1, num_own=1)


def parse(**config) -> AdvantageEstimator:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--advantage", type=AdvantageEstimator)
    return parser.instantiate(parser.parse_object({"advantage": config})).advantage


def test_yaml():
    estimator = parse(
        class_path="lightning_gft.advantages.GroupNormalizedAdvantage", init_args={"eps": 0.1, "scale": "none"}
    )
    assert isinstance(estimator, GroupNormalizedAdvantage)
    assert (estimator.eps, estimator.scale) == (0.1, "none")
    assert isinstance(parse(class_path="lightning_gft.advantages.LeaveOneOutAdvantage"), LeaveOneOutAdvantage)


@pytest.mark.parametrize("init_args", [{"scale": "std"}, {"over": "self"}, {"epsilon": 0.1}], ids=str)
def test_mistakes_in_yaml_are_named(init_args):
    with pytest.raises(ArgumentError, match=next(iter(init_args))):
        parse(class_path="lightning_gft.advantages.GroupNormalizedAdvantage", init_args=init_args)


def test_max_rl_refuses_a_penalty_before_anything_is_scored():
    rewards = {"accuracy": ExactMatchReward(), "overlong": SoftOverlongReward(8, 48)}
    with pytest.raises(ValueError, match=r"^`rewards\.overlong`: expected a reward of at least 0"):
        GroupSampler({"self": SelfSource()}, rewards, MaxRLAdvantage())
    GroupSampler({"self": SelfSource()}, rewards)
