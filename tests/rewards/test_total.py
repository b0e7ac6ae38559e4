"""How several rewards make one number."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from lightning_gft import (
    ExactMatchReward,
    ExpertSource,
    FormatReward,
    GatedSum,
    GroupSampler,
    NumericReward,
    RewardTotal,
    Stage,
    WeightedSum,
)
from lightning_gft.losses import GFTLoss
from lightning_gft.rewards import Reward, RewardError, score_responses

NAN = math.nan


class Given(Reward):
    def __init__(self, *scores: float | None, weight: float = 1.0) -> None:
        super().__init__(weight)
        self.scores = scores

    def __call__(self, **_: object) -> list[float | None]:
        return list(self.scores)


def total_of(total: RewardTotal | None, **rewards: Reward) -> list[float]:
    count = len(next(iter(rewards.values())).scores)
    texts = dict.fromkeys(("prompts", "responses", "references"), ["x"] * count)
    return score_responses(rewards, **texts, columns={}, total=total)[0].tolist()


def parts(**scores: list[float]) -> dict[str, Tensor]:
    return {name: torch.tensor(values, dtype=torch.float32) for name, values in scores.items()}


def test_the_weighted_sum_is_what_it_was_to_the_bit():
    torch.manual_seed(0)
    names = [f"r{n}" for n in range(7)]
    scores = {name: torch.randn(50).masked_fill(torch.rand(50) < 0.2, NAN) for name in names}
    weights = {name: float(torch.randn(())) if name != "r3" else 0.0 for name in names}
    expected = torch.zeros(50, dtype=torch.float32)
    for name in names:
        if weights[name]:
            expected += weights[name] * scores[name].nan_to_num()
    assert torch.equal(WeightedSum()(scores, weights), expected)
    rewards = {
        name: Given(*[None if s != s else s for s in scores[name].tolist()], weight=weights[name]) for name in names
    }
    assert total_of(None, **rewards) == expected.tolist()


@pytest.mark.parametrize(
    ("gates", "at_least", "scores", "expected"),
    [
        ({"accuracy": "format"}, 1.0, {"accuracy": [1, 1, 0.5], "format": [1, 0, 1]}, [2, 0, 1.5]),
        ({"accuracy": "format"}, 0.5, {"accuracy": [1, 1, 1], "format": [0.5, 0.4, 1]}, [1.5, 0.4, 2]),
        # A gate that does not apply is open; a closed one changes nothing where the reward does not apply.
        ({"accuracy": "format"}, 1.0, {"accuracy": [1, NAN], "format": [NAN, 0]}, [1, 0]),
        ({"accuracy": ["a", "b"]}, 1.0, {"a": [1, 1, 0], "b": [1, 0, 1], "accuracy": [4, 4, 4]}, [6, 1, 1]),
        # a closes b, so b is closed for c, although it scores enough itself.
        ({"c": "b", "b": "a"}, 1.0, {"a": [0, 1, 1], "b": [1, 1, 0], "c": [1, 1, 1]}, [0, 3, 1]),
        # A gated penalty counts 0, too.
        ({"length": "accuracy"}, 1.0, {"accuracy": [0, 1], "length": [-0.5, -0.5]}, [0, 0.5]),
    ],
)
def test_a_reward_counts_where_its_gates_are_open(gates, at_least, scores, expected):
    total = GatedSum(gates, at_least)
    assert total(parts(**scores), dict.fromkeys(scores, 1.0)).tolist() == pytest.approx(expected)


def test_a_gate_may_have_weight_0_and_gated_responses_are_counted():
    total = GatedSum({"accuracy": "format"})
    rewards = {"accuracy": Given(1, 1, 0, None, weight=2), "format": Given(1, 0, 0, 0, weight=0)}
    with pytest.raises(RewardError, match="`rewards`: expected one with a weight that applies"):
        total_of(total, **rewards)
    rewards["accuracy"].scores = (1, 1, 0, 1)
    assert total_of(total, **rewards) == [2, 0, 0, 0]
    assert total.compute() == {"accuracy/gated": 2}
    total.reset()
    assert total.compute() == {"accuracy/gated": 0}


def test_rewards_by_name_stay_as_they_are():
    texts = {"prompts": ["p"] * 2, "responses": ["5", "x 5"], "references": ["5"] * 2, "columns": {}}
    rewards = {"accuracy": NumericReward(), "format": FormatReward("[0-9]", weight=0.5)}
    total, by_name = score_responses(rewards, **texts, total=GatedSum({"accuracy": "format"}))
    assert total.tolist() == [1.5, 0]
    assert by_name["accuracy"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("gates", "message"),
    [
        ({}, "expected a gate for each reward"),
        ({"a": []}, "expected a gate for each reward"),
        ({"a": ""}, None),
        ("a", "expected a dict"),
        ({"a": [1]}, "a list of names"),
        ({"a": 3}, "a list of names"),
        ({"a": "a"}, "got a <- a"),
        ({"a": ["c", "b"], "b": "c", "c": "b"}, "got c <- b <- c"),
    ],
)
def test_gates_that_cannot_be(gates, message):
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        GatedSum(gates).check_rewards(["a", "b", "c"])
    assert str(caught.value).startswith("`gates`: expected")


def sampler(total: RewardTotal | None) -> GroupSampler:
    rewards = {"accuracy": ExactMatchReward(), "format": FormatReward(".")}
    return GroupSampler({"expert": ExpertSource()}, rewards, total=total)


def test_a_sampler_refuses_names_that_are_not_there():
    with pytest.raises(
        ValueError, match=r"names among the rewards .accuracy, format., got 'fromat'; did you mean forma"
    ):
        sampler(GatedSum({"accuracy": "fromat"}))
    with pytest.raises(TypeError, match="`total`: expected a RewardTotal"):
        sampler("sum")


def test_another_sampler_keeps_the_total_unless_it_gets_one():
    gated = GatedSum({"accuracy": "format"})
    assert sampler(gated).with_parts(num_groups=2).total is gated
    assert isinstance(sampler(gated).with_parts(total=WeightedSum()).total, WeightedSum)
    with pytest.raises(ValueError, match="`gates`: expected names among the rewards"):
        sampler(gated).with_parts(rewards={"other": ExactMatchReward()})


def test_a_stage_has_a_total_of_its_own():
    gated = GatedSum({"accuracy": "format"})
    own = sampler(None)
    assert Stage(max_steps=1).parts(GFTLoss(), own).sampler.total is own.total
    assert Stage(total=gated, max_steps=1).parts(GFTLoss(), own).sampler.total is gated


class Broken(RewardTotal):
    def __init__(self, answer: object) -> None:
        self.answer = answer

    def __call__(self, parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        return self.answer  # type: ignore[return-value]


@pytest.mark.parametrize("answer", [torch.tensor([1.0, NAN]), torch.ones(3), [1.0, 1.0], None, 1.0])
def test_a_total_of_yours_must_be_finite_numbers(answer):
    with pytest.raises(RewardError, match="`total`: expected 2 finite numbers of Broken, got"):
        total_of(Broken(answer), a=Given(1, 1))
