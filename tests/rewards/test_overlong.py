"""The punishment of long responses, and what rewards may ask for beside texts."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
import torch

from lightning_gft import (
    Evaluation,
    ExactMatchReward,
    ExpertSource,
    FunctionReward,
    GroupSampler,
    Response,
    Reward,
    RewardAdvantage,
    SelfSource,
    SoftOverlongReward,
    Source,
    TeacherSource,
    TimeLimitedReward,
)
from lightning_gft.evaluation import Evaluator
from lightning_gft.rewards import RewardError, response_facts, score_responses
from tests.module.runs import fit, make_module
from tests.rewards.attacks import lengths_alone
from tests.tiny import prompt_batch, tiny_policy


def by_the_paper(length: int, longest: int, cache: int) -> Fraction:
    """Return Equation 13 of DAPO."""
    if length <= longest - cache:
        return Fraction(0)
    if longest - cache < length <= longest:
        return Fraction((longest - cache) - length, cache)
    return Fraction(-1)


def punish(reward: Reward, lengths: Sequence[int], source: Source = Source.SELF) -> list[float | None]:
    facts = response_facts([Response([1] * length) for length in lengths], [source] * len(lengths))
    number = len(lengths)
    return list(reward(prompts=[""] * number, responses=[""] * number, references=[None] * number, **facts))


@pytest.mark.parametrize(("longest", "cache"), [(20, 4), (20, 20), (20, 1), (20, 0), (7, 3)])
def test_the_punishment_is_the_papers(longest: int, cache: int):
    lengths = list(range(1, longest + 5))
    expected = [float(by_the_paper(length, longest, cache)) for length in lengths]
    assert punish(SoftOverlongReward(cache, longest), lengths) == expected
    assert min(expected) == -1
    assert expected == sorted(expected, reverse=True)


@pytest.mark.parametrize("source", [Source.EXPERT, Source.TEACHER])
def test_it_does_not_apply_to_demonstrations(source: Source):
    assert punish(SoftOverlongReward(2, 4), [1, 4, 9], source) == [None] * 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((0, 0), "`max_completion_length` of SoftOverlongReward: expected a whole number of at least 1, got 0"),
        ((-1, 8), "`soft_punish_cache` of SoftOverlongReward: expected a whole number of at least 0, got -1"),
        ((9, 8), "`soft_punish_cache` of SoftOverlongReward: expected a whole number from 0 to 8, got 9"),
    ],
)
def test_lengths_that_make_no_sense_are_refused(settings: tuple[int, int], message: str):
    with pytest.raises(ValueError, match=message):
        SoftOverlongReward(*settings)


@pytest.mark.parametrize(("longest", "cache"), [(20, 4), (7, 7)])
def test_the_default_length_is_the_limit_of_the_samples(longest: int, cache: int):
    lengths = list(range(1, longest + 2))
    facts = response_facts([Response([1] * length) for length in lengths], [Source.SELF] * len(lengths), longest)
    texts = {"prompts": [""] * len(lengths), "responses": [""] * len(lengths), "references": [None] * len(lengths)}
    assert SoftOverlongReward(cache)(**texts, **facts) == punish(SoftOverlongReward(cache, longest), lengths)


def test_a_cache_beyond_the_default_length_punishes_every_response():
    facts = response_facts([Response([1] * length) for length in (1, 8, 9)], [Source.SELF] * 3, limit=8)
    texts = {"prompts": [""] * 3, "responses": [""] * 3, "references": [None] * 3}
    assert SoftOverlongReward(16)(**texts, **facts) == [-9 / 16, -1, -1]


def test_the_sampler_counts_the_tokens_that_were_drawn():
    policy = tiny_policy()
    sources = {"own": SelfSource(8, max_new_tokens=30), "gold": ExpertSource()}
    rewards = {"accuracy": ExactMatchReward(), "brief": SoftOverlongReward(28, weight=0.5)}
    prompts = prompt_batch(policy.tokenizer, ["1+1=", "2+2="], ["2", "4"], {"expert": [["2"], ["44444444"]]})
    groups = GroupSampler(sources, rewards, RewardAdvantage()).sample(prompts, policy, seed=1)
    own = groups.source == Source.SELF
    assert groups.reward_parts["brief"][~own].isnan().all()
    expected = [float(by_the_paper(int(length), 30, 28)) for length in groups.response_lengths[own]]
    assert groups.reward_parts["brief"][own].tolist() == pytest.approx(expected)
    total = groups.reward_parts["accuracy"] + 0.5 * groups.reward_parts["brief"].nan_to_num()
    torch.testing.assert_close(groups.rewards, total)
    assert len(set(expected)) > 1


@pytest.mark.parametrize("limited", [False, True])
def test_a_function_that_names_what_it_wants_gets_it(limited: bool):
    reward: Reward = FunctionReward(lengths_alone)
    reward.check_row(None, {})
    if limited:
        reward = TimeLimitedReward(reward, seconds=60)
    assert reward.needs() == {"response_tokens"}
    facts = response_facts([Response([1, 2, 3]), Response([4])], [Source.SELF, Source.EXPERT])
    texts: dict[str, Any] = {"prompts": ["", ""], "responses": ["a", "b"], "references": [0, 0]}
    try:
        total, _ = score_responses({"length": reward}, **texts, columns={"response_tokens": [7, 7]}, facts=facts)
    finally:
        reward.close()
    assert total.tolist() == [3, 1]
    with pytest.raises(ValueError, match="reward 'length': expected response_tokens of the responses, got none"):
        score_responses({"length": reward}, **texts, columns={})


def test_what_a_reward_does_not_ask_for_it_does_not_get():
    def everything(responses: Sequence[str], **columns: Any) -> list[float]:
        assert set(columns) == {"prompts", "references", "level"}
        return [1.0] * len(responses)

    facts = response_facts([Response([1])], [Source.SELF])
    texts: dict[str, Any] = {"prompts": [""], "responses": ["a"], "references": [0]}
    score_responses({"all": FunctionReward(everything)}, **texts, columns={"level": [1]}, facts=facts)


def test_a_limited_penalty_is_one():
    limited = TimeLimitedReward(SoftOverlongReward(4, 8), seconds=60)
    assert not limited.measures()
    assert limited.needs() == {"response_tokens", "response_source"}


def test_evaluation_does_not_take_a_penalty_for_accuracy():
    rewards: dict[str, Reward] = {"brief": SoftOverlongReward(4, 8), "accuracy": ExactMatchReward()}
    assert Evaluator(Evaluation()).reward_name(rewards) == "accuracy"
    with pytest.raises(ValueError, match=r"`evaluation.reward`: expected one of accuracy, got 'brief'"):
        Evaluator(Evaluation(reward="brief")).reward_name(rewards)
    del rewards["accuracy"]
    with pytest.raises(ValueError, match=r"`rewards`: expected one .*, got penalties alone \(brief\); add"):
        Evaluator(Evaluation()).reward_name(rewards)


def test_a_penalty_alone_scores_no_demonstration():
    policy = tiny_policy()
    sampler = GroupSampler({"t": TeacherSource(1)}, {"brief": SoftOverlongReward(4, 8)}, RewardAdvantage())
    prompts = prompt_batch(policy.tokenizer, ["1+1="], ["2"], {"teacher": [["2"]]})
    with pytest.raises(RewardError, match="that applies to each response, got None or no weight from brief"):
        sampler.sample(prompts, policy, seed=0)


def test_a_run_reports_the_punishment_of_own_samples():
    module = make_module(sources={"teacher": TeacherSource(2), "own": SelfSource(2, max_new_tokens=5)})
    module.sampler.rewards["brief"] = SoftOverlongReward(4, 5)
    figures = fit(module, log_every_n_steps=1).callback_metrics
    assert -1 <= figures["train/rewards/brief/mean"] < 0
