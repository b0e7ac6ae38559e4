"""What rewards read as the answers of responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from lightning_gft import (
    ExactMatchReward,
    FormatReward,
    MathAccuracyReward,
    MultipleChoiceReward,
    NumericReward,
    Reward,
    TimeLimitedReward,
)
from lightning_gft.rewards.answers import read_answers
from lightning_gft.rewards.failures import RewardError


def answers_of(reward: Reward, *responses: str, **columns: Any) -> list[str | None]:
    rows = {name: [value] * len(responses) for name, value in columns.items()}
    return read_answers({"it": reward}, responses, rows)["it"]


def test_exact_match_reads_what_follows_the_marker():
    reward = ExactMatchReward(marker="#", ignore_case=True)
    assert answers_of(reward, "1 + 1 = 2 # Two ", "#", "two") == ["two", None, None]
    assert answers_of(ExactMatchReward(), " two", "") == ["two", None]


def test_numbers_are_read_as_they_are_compared():
    assert answers_of(NumericReward(), "0.50", "it is 1/2.", "2", "none") == ["1/2", "1/2", "2", None]
    assert answers_of(NumericReward("####"), "7 #### 5, as 2 + 3", "5 or 6", "#### 5 or 6") == ["5", None, None]
    first, same, other = answers_of(NumericReward(), "1e9999", "10e9998", "1e9998")
    assert first == same != other


def test_choices_are_read_by_their_labels():
    offered = ["Rome", "Paris"]
    reward = MultipleChoiceReward("choices")
    responses = ["The answer is (B).", "paris", "A or B", "\\boxed{a}"]
    assert answers_of(reward, *responses, choices=offered) == ["B", "B", None, "A"]
    assert answers_of(MultipleChoiceReward(marker="#"), "B # C", "B") == ["C", None]


def test_mathematics_is_read_in_one_way_of_writing():
    reward = MathAccuracyReward(workers=1)
    assert answers_of(reward, r"\boxed{\frac{1}{2}}", "The answer is 0.5", "") == ["1/2", "1/2", None]
    assert not reward.pool.is_running  # that needs no process


@pytest.mark.parametrize("marker", ["", "#"])
@pytest.mark.parametrize("kind", [ExactMatchReward, NumericReward, MultipleChoiceReward])
def test_equal_answers_score_the_same(kind: type[Reward], marker: str):
    texts = [f"{before}{marker}{answer}" for before in ("", "A or 3 ") for answer in ("A", "B", "3", "3.0", " a ", "")]
    reward = kind(marker=marker)
    reference = "3" if kind is NumericReward else "A"
    scores = reward(prompts=["?"] * len(texts), responses=texts, references=[reference] * len(texts)).tolist()
    of_answer: dict[str | None, set[float]] = {}
    for answer, score in zip(answers_of(reward, *texts), scores, strict=True):
        of_answer.setdefault(answer, set()).add(score)
    assert all(len(of) == 1 for of in of_answer.values())
    assert of_answer.get(None, {0.0}) == {0.0}
    assert sum(of == {1.0} for of in of_answer.values()) == 1


class Answering(FormatReward):
    def __init__(self, answer: Any, special_tokens: bool = False) -> None:
        super().__init__(".*", special_tokens=special_tokens)
        self.given = answer

    def reads_answers(self) -> bool:
        return True

    def read_answer(self, response: str, columns: Mapping[str, Any]) -> str | None:
        return self.given(response)


def test_rewards_that_read_none_are_left_out_and_limits_let_answers_through():
    rewards = {"format": FormatReward(".*"), "number": TimeLimitedReward(NumericReward(), seconds=60)}
    assert read_answers(rewards, ["2", "x"], {}) == {"number": ["2", None]}
    assert read_answers({"limited": TimeLimitedReward(FormatReward(".*"), seconds=60)}, ["2"], {}) == {}


def test_a_reward_that_wants_special_tokens_reads_with_them():
    rewards = {"raw": Answering(str.strip, special_tokens=True), "plain": Answering(str.strip)}
    assert read_answers(rewards, ["a"], {}, ["<a>"]) == {"raw": ["<a>"], "plain": ["a"]}
    assert read_answers(rewards, ["a"], {}) == {"raw": ["a"], "plain": ["a"]}


def test_a_failure_shows_the_response():
    with pytest.raises(RewardError, match=r"`read_answer` of reward 'it' \(Answering\): .* raised .*response: 'ab'"):
        answers_of(Answering({"12": "12"}.__getitem__), "12", "ab")
    with pytest.raises(RewardError, match=r"returned 2, a int; correct it\. response: 'ab'"):
        answers_of(Answering(len), "ab")
