from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from lightning_gft.functional import (
    group_normalized_advantages,
    leave_one_out_advantages,
    max_rl_advantages,
    self_baseline_advantages,
)
from tests import reference

Estimate = Callable[[Tensor, Tensor, Tensor], Tensor]
Oracle = Callable[[Sequence[float], Sequence[int], Sequence[bool]], list[float]]

ESTIMATES: dict[str, tuple[Estimate, Oracle]] = {
    "group": (
        lambda r, g, s: group_normalized_advantages(r, g),
        lambda r, g, s: reference.group_normalized(r, g),
    ),
    "group-eps": (
        lambda r, g, s: group_normalized_advantages(r, g, eps=0.1),
        lambda r, g, s: reference.group_normalized(r, g, eps=0.1),
    ),
    "no-scale": (
        lambda r, g, s: group_normalized_advantages(r, g, scale="none"),
        lambda r, g, s: reference.group_normalized(r, g, scale="none"),
    ),
    "batch-scale": (
        lambda r, g, s: group_normalized_advantages(r, g, scale="batch"),
        lambda r, g, s: reference.group_normalized(r, g, scale="batch"),
    ),
    "own": (
        lambda r, g, s: group_normalized_advantages(r, g, is_self=s),
        lambda r, g, s: reference.group_normalized(r, g, is_self=s),
    ),
    "own-no-scale": (
        lambda r, g, s: group_normalized_advantages(r, g, scale="none", is_self=s),
        lambda r, g, s: reference.group_normalized(r, g, scale="none", is_self=s),
    ),
    "own-batch-scale": (
        lambda r, g, s: group_normalized_advantages(r, g, scale="batch", is_self=s),
        lambda r, g, s: reference.group_normalized(r, g, scale="batch", is_self=s),
    ),
    "leave-one-out": (
        lambda r, g, s: leave_one_out_advantages(r, g),
        lambda r, g, s: reference.leave_one_out(r, g),
    ),
    "self-baseline": (self_baseline_advantages, reference.self_baseline),
}

every_estimate = pytest.mark.parametrize(("estimate", "oracle"), ESTIMATES.values(), ids=ESTIMATES.keys())


def ragged(seed: int, sizes: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return fp64 rewards, group numbers (negative ones too, with gaps, mixed up) and which samples are own."""
    generator = torch.Generator().manual_seed(seed)
    names = torch.randperm(1000, generator=generator)[: len(sizes)] - 500
    index = names.repeat_interleave(torch.tensor(sizes))
    index = index[torch.randperm(len(index), generator=generator)]
    rewards = torch.randn(len(index), dtype=torch.float64, generator=generator)
    return rewards, index, torch.rand(len(index), generator=generator) < 0.5


@every_estimate
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sizes", [(8,), (1, 1, 1), (1, 2, 3, 7, 4), (2, 2)], ids=str)
def test_ragged_mixed_up_groups_agree_with_loops(estimate: Estimate, oracle: Oracle, sizes, seed: int):
    rewards, index, is_self = ragged(seed, sizes)
    expected = oracle(rewards.tolist(), index.tolist(), is_self.tolist())
    actual = estimate(rewards, index, is_self)
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-10)


@every_estimate
@pytest.mark.parametrize("seed", range(3))
def test_repeated_rewards_agree_with_loops(estimate: Estimate, oracle: Oracle, seed: int):
    _, index, is_self = ragged(seed, (3, 4, 5))
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randint(0, 2, index.shape, generator=generator).double()
    expected = oracle(rewards.tolist(), index.tolist(), is_self.tolist())
    actual = estimate(rewards, index, is_self)
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-10)


@every_estimate
@pytest.mark.parametrize(
    ("dtype", "result_dtype"),
    [
        (torch.bool, torch.float32),
        (torch.int32, torch.float32),
        (torch.int64, torch.float32),
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
    ids=str,
)
def test_every_numeric_dtype(estimate: Estimate, oracle: Oracle, dtype: torch.dtype, result_dtype: torch.dtype):
    rewards = torch.tensor([1, 0, 1, 1, 0, 1]).to(dtype)
    index, is_self = torch.tensor([3, 3, -1, 3, -1, 3]), torch.tensor([True, False, True, True, True, False])
    actual = estimate(rewards, index, is_self)
    expected = oracle(rewards.double().tolist(), index.tolist(), is_self.tolist())
    assert actual.dtype == result_dtype
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=result_dtype), rtol=1e-6, atol=1e-6)


@every_estimate
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("reward", "size"), [(0.1, 3), (1 / 3, 7), (1e30, 5), (-3e38, 4), (1e-40, 6), (0.7, 2)], ids=str
)
def test_all_equal_group_gets_exactly_zero(estimate: Estimate, oracle: Oracle, dtype, reward: float, size: int):
    # A second group beside it makes the sums of both go through the same tensors.
    rewards = torch.tensor([reward] * size + [1.0, 0.0]).to(dtype)
    index, is_self = torch.tensor([4] * size + [2, 2]), torch.ones(size + 2, dtype=torch.bool)
    advantages = estimate(rewards, index, is_self)
    assert advantages[:size].tolist() == [0.0] * size
    assert advantages[size:].isfinite().all()
    assert (advantages[size:] != 0).all()


@every_estimate
@pytest.mark.parametrize("is_self", [False, True])
def test_group_of_one_gets_its_reward(estimate: Estimate, oracle: Oracle, is_self: bool):
    rewards = torch.tensor([0.3, 1.0, 0.0, -2.5], dtype=torch.float64)
    index = torch.tensor([9, 1, 1, -4])
    advantages = estimate(rewards, index, torch.full((4,), is_self))
    assert advantages[[0, 3]].tolist() == [0.3, -2.5]


@every_estimate
def test_group_numbers_and_order_do_not_matter(estimate: Estimate, oracle: Oracle):
    rewards, index, is_self = ragged(3, (4, 2, 5))
    renamed = torch.unique(index, return_inverse=True)[1] * 7 - 30
    order = torch.randperm(len(index), generator=torch.Generator().manual_seed(0))
    expected = estimate(rewards, index, is_self)
    actual = estimate(rewards[order], renamed[order], is_self[order])
    torch.testing.assert_close(actual, expected[order], rtol=0, atol=1e-12)


@every_estimate
def test_no_sequences(estimate: Estimate, oracle: Oracle):
    advantages = estimate(torch.zeros(0), torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.bool))
    assert advantages.shape == (0,)
    assert advantages.dtype == torch.float32


def test_normalised_groups_have_mean_0_and_std_1():
    rewards, index, _ = ragged(11, (5, 8, 3))
    advantages = group_normalized_advantages(rewards, index, eps=0.0)
    for name in index.unique():
        group = advantages[index == name]
        torch.testing.assert_close(torch.stack([group.mean(), group.std()]), torch.tensor([0.0, 1.0]).double())


def test_eps_bounds_nearly_equal_groups():
    rewards = torch.tensor([0.1, 0.1 + 1e-12, 0.1], dtype=torch.float64)
    advantages = group_normalized_advantages(rewards, torch.zeros(3, dtype=torch.long))
    assert 0 < advantages.abs().max() < 1e-5


def test_expert_does_not_move_the_self_baseline():
    index, is_self = torch.zeros(3, dtype=torch.long), torch.tensor([False, True, True])
    poor, good = (self_baseline_advantages(torch.tensor([expert, 1.0, 0.0]), index, is_self) for expert in (-1.0, 5.0))
    assert poor[1:].tolist() == good[1:].tolist() == [1.0, -1.0]
    assert [poor[0].item(), good[0].item()] == [-1.5, 4.5]


@every_estimate
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_reward_that_is_not_finite_is_named(estimate: Estimate, oracle: Oracle, bad: float):
    rewards = torch.tensor([0.0, 1.0, bad, 1.0])
    with pytest.raises(ValueError, match=r"rewards\[2\]`: expected a finite number"):
        estimate(rewards, torch.zeros(4, dtype=torch.long), torch.ones(4, dtype=torch.bool))


@every_estimate
@pytest.mark.parametrize(
    ("rewards", "index"),
    [((3,), (4,)), ((2, 2), (2, 2)), ((), ()), ((3,), (3, 1))],
    ids=str,
)
def test_wrong_shapes_are_named(estimate: Estimate, oracle: Oracle, rewards, index):
    with pytest.raises(ValueError, match="`rewards`, `group_index`: expected both"):
        estimate(torch.zeros(rewards), torch.zeros(index, dtype=torch.long), torch.ones(rewards, dtype=torch.bool))


@pytest.mark.parametrize("of", [self_baseline_advantages, group_normalized_advantages], ids=["baseline", "group"])
def test_wrong_is_self_shape_is_named(of):
    with pytest.raises(ValueError, match=r"`is_self`: .* got \(2,\)"):
        of(torch.zeros(3), torch.zeros(3, dtype=torch.long), is_self=torch.ones(2, dtype=torch.bool))


def test_unknown_scale_is_named():
    with pytest.raises(ValueError, match="`scale`: expected group, batch or none, got 'std'"):
        group_normalized_advantages(torch.zeros(2), torch.zeros(2, dtype=torch.long), scale="std")  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_a_demonstration_beside_equal_own_samples_gets_the_difference(scale):
    # All own samples are wrong: there is no scale, and 1 / eps would drown every other gradient.
    rewards, index = torch.tensor([1.0, 0.1, 0.1, 0.1]), torch.zeros(4, dtype=torch.long)
    is_self = torch.tensor([False, True, True, True])
    advantages = group_normalized_advantages(rewards, index, scale=scale, is_self=is_self)
    torch.testing.assert_close(advantages, torch.tensor([0.9, 0.0, 0.0, 0.0]), rtol=1e-6, atol=0)
    assert advantages[1:].tolist() == [0.0] * 3


def test_own_samples_are_standardised_among_themselves_whatever_the_demonstration():
    index, is_self = torch.zeros(4, dtype=torch.long), torch.tensor([False, True, True, True])
    own = torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64)
    for expert in (-3.0, 1.0):
        rewards = torch.cat([own.new_tensor([expert]), own])
        advantages = group_normalized_advantages(rewards, index, is_self=is_self)
        alone = group_normalized_advantages(own, index[1:])
        torch.testing.assert_close(advantages[1:], alone, rtol=0, atol=1e-12)
        assert advantages[0].item() == pytest.approx((expert - 0.5) / (0.5 + 1e-6))


def test_equal_demonstrations_without_own_samples_get_zero():
    rewards, index = torch.tensor([0.7, 0.7, 1.0, 0.0]), torch.tensor([0, 0, 1, 1])
    advantages = group_normalized_advantages(rewards, index, is_self=torch.zeros(4, dtype=torch.bool))
    assert advantages.tolist() == pytest.approx([0.0, 0.0, 1.0, 0.0])


def test_batch_scale_of_a_share_is_that_of_the_whole():
    rewards, index, _ = ragged(5, (4, 3, 5))
    whole = group_normalized_advantages(rewards, index, scale="batch")
    torch.testing.assert_close(
        whole * (rewards.std() + 1e-6), group_normalized_advantages(rewards, index, scale="none"), rtol=0, atol=1e-12
    )
    for name in index.unique():
        rows = index == name
        share = group_normalized_advantages(rewards[rows], index[rows], scale="batch", batch_rewards=rewards)
        torch.testing.assert_close(share, whole[rows], rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sizes", [(8,), (1, 1, 1), (1, 2, 3, 7, 4), (2, 2)], ids=str)
@pytest.mark.parametrize("binary", [True, False], ids=["right-or-wrong", "graded"])
def test_max_rl_agrees_with_loops(sizes, seed: int, binary: bool):
    rewards, index, _ = ragged(seed, sizes)
    rewards = (rewards > 0).double() if binary else rewards.abs()
    expected = torch.tensor(reference.max_rl(rewards.tolist(), index.tolist()), dtype=torch.float64)
    torch.testing.assert_close(max_rl_advantages(rewards, index), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("right", range(9))
def test_max_rl_of_right_and_wrong_answers_is_its_closed_form(right: int):
    rewards = torch.tensor([1.0] * right + [0.0] * (8 - right), dtype=torch.float64)
    advantages = max_rl_advantages(rewards, torch.zeros(8, dtype=torch.long))
    expected = [0.0] * 8 if right in (0, 8) else [(8 - right) / right] * right + [-1.0] * (8 - right)
    assert advantages.tolist() == pytest.approx(expected, abs=1e-12)
    assert advantages.sum().item() == pytest.approx(0, abs=1e-12)


def test_max_rl_is_the_gradient_of_the_log_probability_of_success():
    # Of a policy over 4 answers, 2 of them right, as the mean over very many samples.
    logits = torch.tensor([0.3, -0.4, 0.9, -0.2], dtype=torch.float64, requires_grad=True)
    right = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    (expected,) = torch.autograd.grad((logits.softmax(0) @ right).log(), logits)
    samples = logits.detach().softmax(0).multinomial(200_000, True, generator=torch.Generator().manual_seed(0))
    advantages = max_rl_advantages(right[samples], torch.zeros_like(samples))
    (actual,) = torch.autograd.grad((advantages * logits.log_softmax(0)[samples]).mean(), logits)
    torch.testing.assert_close(actual, expected, rtol=0, atol=0.01)


def test_max_rl_of_a_group_of_one_is_its_reward():
    assert max_rl_advantages(torch.tensor([0.25, 0.0]), torch.tensor([3, 1])).tolist() == [0.25, 0.0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("reward", [0.0, 0.1, 1 / 3, 1e-40])
def test_max_rl_of_an_all_equal_group_is_exactly_zero(reward: float, dtype: torch.dtype):
    rewards = torch.tensor([reward] * 7 + [1.0, 0.0]).to(dtype)
    advantages = max_rl_advantages(rewards, torch.tensor([4] * 7 + [2, 2]))
    assert advantages.tolist() == [0.0] * 7 + [1.0, -1.0]


def test_max_rl_refuses_a_negative_reward():
    with pytest.raises(ValueError, match=r"`rewards`: expected at least 0 for MaxRL, got -0.5 for response 1"):
        max_rl_advantages(torch.tensor([1.0, -0.5]), torch.zeros(2, dtype=torch.long))
