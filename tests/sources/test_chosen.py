"""The best, or the most different, of the responses that another source gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_gft import (
    ByLength,
    Choice,
    ChosenSource,
    ExactMatchReward,
    ExpertSource,
    GFTLitModule,
    GroupSampler,
    HighestReward,
    MostDifferent,
    OnlyCorrect,
    Policy,
    PromptBatch,
    Response,
    Reward,
    RewardAdvantage,
    SelfSource,
    Source,
    TeacherSource,
)
from lightning_gft.checkpoint import describe
from lightning_gft.types import Candidate
from tests.module.runs import ROWS, Rows, fit, make_module
from tests.tiny import prompt_batch, tiny_policy

PROMPTS = ["1+1=", "20+20+20=", "3="]
TEACHER = [["1", "22", "333", " 22", "4444", "1"], ["5"], []]


class Digits(Reward):
    """As many as a response has digits."""

    def __call__(self, *, responses: Sequence[str], **rest: Any) -> list[float]:
        return [float(len(text.strip())) for text in responses]


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny_policy()


def candidates(*texts: str, rewards: Iterable[float] = (), finished: bool = True) -> list[Candidate]:
    values = [*rewards] or [1.0] * len(texts)
    return [
        Candidate(Response([1] * len(text), finished), text, value, {"score": value})
        for text, value in zip(texts, values, strict=True)
    ]


# --- what comes first ---


def test_the_highest_reward_comes_first_and_ties_follow_the_seed():
    given = candidates(*"abcdef", rewards=[0, 1, 0.5, 1, 1, float("nan")])
    orders = {tuple(HighestReward("score").order(given, seed)) for seed in range(60)}
    assert {order[3:] for order in orders} == {(2, 0, 5)}
    assert {order[:3] for order in orders} == {
        (1, 3, 4), (1, 4, 3), (3, 1, 4), (3, 4, 1), (4, 1, 3), (4, 3, 1)
    }  # fmt: skip
    assert list(HighestReward().order(given, 7)) == list(HighestReward().order(given, 7))


@pytest.mark.parametrize(
    ("prefer", "order"), [("shortest", [1, 2, 4, 0, 3]), ("longest", [3, 0, 4, 2, 1]), ("median", [4, 2, 0, 1, 3])]
)
def test_lengths(prefer: Any, order: list[int]):
    given = candidates("a" * 7, "a", "a" * 3, "a" * 20, "a" * 4)
    assert list(ByLength(prefer).order(given, 0)) == order


def test_each_next_one_is_as_far_as_possible_from_those_before_it():
    texts = [
        "the sum of 2 and 2 is 4",
        "The sum  of 2 and 2 is 4.",
        "x = 7 and y = 9, so 4",
        "答えは四です",
        "the sum of 2",
    ]
    for seed in range(20):
        order = list(MostDifferent().order(candidates(*texts), seed))
        assert sorted(order) == [0, 1, 2, 3, 4]
        kinds = [{0: "sum", 1: "sum", 4: "sum"}.get(index, index) for index in order]
        assert set(kinds[:3]) == {"sum", 2, 3}, "one of each kind before any second"
        assert {order[-1], order[-2]} & {0, 1}, "near duplicates do not come together"
    firsts = {next(iter(MostDifferent().order(candidates(*texts), seed))) for seed in range(60)}
    assert firsts == {0, 1, 2, 3, 4}
    assert list(MostDifferent(1).order(candidates("", ""), 0)) in ([0, 1], [1, 0])


def test_only_right_ones_are_kept_in_the_order_of_another_choice():
    given = candidates("a" * 5, "a" * 3, "b", "b" * 4, rewards=[1, 1, 0.5, 1.5])
    assert list(OnlyCorrect(ByLength("shortest")).order(given, 0)) == [1, 3, 0]
    assert list(OnlyCorrect(ByLength("shortest"), "score", correct_reward=0.5).order(given, 0)) == [2, 1, 3, 0]
    assert list(OnlyCorrect(correct_reward=2).order(given, 0)) == []


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ByLength("long"), ValueError, "`prefer` of ByLength: expected shortest, longest or median"),  # type: ignore[arg-type]
        (lambda: MostDifferent(0), ValueError, "`ngram` of MostDifferent: expected a whole number of at"),
        (lambda: OnlyCorrect("best"), TypeError, "`then`: expected a Choice, got 'best'"),  # type: ignore[arg-type]
        (lambda: OnlyCorrect(correct_reward=float("nan")), ValueError, "`correct_reward` of OnlyCorrect"),
        (lambda: ChosenSource(TeacherSource(3), 4), ValueError, "at most the 3 responses of the TeacherSource"),
        (lambda: ChosenSource(TeacherSource(3), 0), ValueError, "`num_responses` of ChosenSource: expected a whole"),
        (lambda: ChosenSource("teacher", 1), TypeError, "`within`: expected a ResponseSource, got 'teacher'"),  # type: ignore[arg-type]
        (lambda: ChosenSource(TeacherSource(3), 1, "best"), TypeError, "`by`: expected a Choice, got 'best'"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_settings_are_checked(make: Callable[[], object], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        make()


def test_a_reward_that_the_sampler_lacks_is_an_error_when_the_sampler_is_made():
    by = OnlyCorrect(HighestReward("acuracy"))
    with pytest.raises(ValueError, match=r"^`sources\.t\.by`: .* for OnlyCorrect, got 'acuracy'; did you mean acc"):
        GroupSampler({"t": ChosenSource(TeacherSource(3), 1, by)}, {"accuracy": ExactMatchReward()})
    source = ChosenSource(TeacherSource(3), 1, OnlyCorrect(reward="x"))
    with pytest.raises(ValueError, match=r"expected one of the rewards accuracy for OnlyCorrect, got 'x'; name one of"):
        GroupSampler({"t": source}, {"accuracy": ExactMatchReward()})


# --- in a sampler ---


def batch(policy: Policy) -> PromptBatch:
    return prompt_batch(policy.tokenizer, PROMPTS, ["2", "60", "3"], {"teacher": TEACHER, "expert": [["2"], [], ["3"]]})


def texts_of(sampler: GroupSampler, prompts: PromptBatch, policy: Policy, seed: int = 0) -> list[tuple[int, str]]:
    groups = sampler.sample(prompts, policy, seed)
    return list(zip(groups.group_index.tolist(), groups.responses, strict=True))


def test_only_the_chosen_have_a_part_in_the_group_and_its_advantages(policy: Policy):
    teacher = ChosenSource(TeacherSource(6), 2, HighestReward())
    sampler = GroupSampler({"expert": ExpertSource(), "teacher": teacher}, {"digits": Digits()}, RewardAdvantage())
    groups = sampler.sample(batch(policy), policy, seed=0)
    assert groups.responses == ["2", "333", "4444", "5", "3"]
    assert groups.group_index.tolist() == [0, 0, 0, 1, 2]
    assert groups.source.tolist() == [Source.EXPERT, Source.TEACHER, Source.TEACHER, Source.TEACHER, Source.EXPERT]
    assert groups.advantages.tolist() == groups.rewards.tolist() == [1, 3, 4, 1, 1]
    assert groups.input_ids.shape[0] == groups.response_mask.shape[0] == 5
    assert sampler.group_size == 3
    assert teacher.compute() == {"given": 7, "duplicates": 2, "left_out": 2}
    teacher.reset()
    assert teacher.compute() == {"given": 0, "duplicates": 0, "left_out": 0}


def test_advantages_are_those_of_a_group_of_the_chosen_alone(policy: Policy):
    chosen = GroupSampler({"t": ChosenSource(TeacherSource(6), 3, ByLength("longest"))}, {"digits": Digits()})
    alone = prompt_batch(policy.tokenizer, PROMPTS, None, {"teacher": [["22", "333", "4444"], ["5"], []]})
    expected = GroupSampler({"t": TeacherSource(3)}, {"digits": Digits()}).sample(alone, policy, 0)
    groups = chosen.sample(batch(policy), policy, 0)
    assert groups.responses == expected.responses
    torch.testing.assert_close(groups.advantages, expected.advantages, rtol=0, atol=0)


def test_duplicates_stay_where_they_are_wanted_and_a_cut_response_is_no_duplicate_of_a_whole_one(policy: Policy):
    source = ChosenSource(TeacherSource(6), 6, ByLength("shortest"), drop_duplicates=False)
    assert len(texts_of(GroupSampler({"t": source}, {"digits": Digits()}), batch(policy), policy)) == 7
    two = [*candidates("7  7"), *candidates("7 7", finished=False), *candidates(" 7 7\n")]
    assert sorted(ChosenSource(TeacherSource(3), 3).choose(two, 0)) == [0, 1]


def test_own_samples_are_chosen_alike_and_by_their_seeds_alone(policy: Policy):
    def sampler() -> GroupSampler:
        own = ChosenSource(SelfSource(12, max_new_tokens=3), 4, MostDifferent(1))
        return GroupSampler({"own": own, "gold": ExpertSource()}, {"digits": Digits()})

    prompts = batch(policy)
    whole = texts_of(sampler(), prompts, policy, seed=5)
    assert sum(prompt == 1 for prompt, _ in whole) == 4
    assert whole == texts_of(sampler(), prompts, policy, seed=5)  # as a resumed run draws and chooses again
    assert whole != texts_of(sampler(), prompts, policy, seed=6)
    # As two ranks would: each has some of the prompts, and their places in the whole batch.
    first, rest = (texts_of(sampler(), part, policy, seed=5) for part in (prompts[:1], prompts[1:]))
    assert whole == first + [(prompt + 1, text) for prompt, text in rest]
    everything = {
        *texts_of(GroupSampler({"own": SelfSource(12, max_new_tokens=3)}, {"d": Digits()}), prompts, policy, 5)
    }
    assert {pair for pair in whole if pair[1] not in ("2", "3")} <= everything


def test_a_run_resumes_to_the_bit_and_reports_what_was_left_out(tmp_path: Path):
    def run(**arguments: Any) -> tuple[GFTLitModule, dict[str, Any]]:
        own = ChosenSource(SelfSource(6, max_new_tokens=3), 2, MostDifferent(1))
        teacher = ChosenSource(TeacherSource(4), 2, HighestReward("score"))
        module = make_module(sources={"own": own, "teacher": teacher})
        trainer = fit(module, Rows([*ROWS, *ROWS[::-1]] * 2, batch_size=4), **arguments)
        trainer.save_checkpoint(tmp_path / f"{trainer.global_step}.ckpt")
        return module, trainer.callback_metrics

    whole, figures = run(max_steps=4)
    assert figures["train/sources/teacher/given"] == 16
    assert figures["train/sources/teacher/left_out"] == 8
    assert figures["train/sources/own/given"] == 24
    run(max_steps=2)
    resumed, _ = run(max_steps=4, ckpt_path=str(tmp_path / "2.ckpt"))
    for one, other in zip(whole.policy.parameters(), resumed.policy.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_choice_of_others_is_checked(policy: Policy):
    class Twice(Choice):
        def order(self, candidates: Sequence[Candidate], seed: int) -> list[int]:
            return [0, 0]

    sampler = GroupSampler({"t": ChosenSource(TeacherSource(6), 2, Twice())}, {"digits": Digits()})
    with pytest.raises(ValueError, match=r"`by`: expected different indices of 4 responses from Twice, got \[0, 0\]"):
        sampler.sample(batch(policy), policy, 0)


def test_a_choice_among_what_another_has_left():
    inner = ChosenSource(TeacherSource(8), 4, HighestReward())
    outer = ChosenSource(inner, 1, ByLength("longest"))
    given = candidates("aaaa", "b", "cc", "ddd", "eeeee", "e", rewards=[0, 1, 1, 1, 0.5, 0])
    assert outer.choose(given, 3) == [4]
    assert outer.compute() == {
        **{"within/given": 6, "within/duplicates": 0, "within/left_out": 2},
        **{"given": 6, "duplicates": 0, "left_out": 5},
    }


def test_a_checkpoint_says_what_is_chosen_and_of_what():
    words = describe(ChosenSource(TeacherSource(16), 3, OnlyCorrect()))
    assert words == (
        "ChosenSource(within=TeacherSource(num_responses=16), num_responses=3, drop_duplicates=True, "
        "OnlyCorrect(then=MostDifferent(ngram=5), reward=None, correct_reward=1.0))"
    )
