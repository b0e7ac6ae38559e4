"""From prompts to scored groups: who is where, what is masked, what it is worth."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lightning_gft import (
    ExactMatchReward,
    ExpertSource,
    FormatReward,
    GroupBatch,
    GroupSampler,
    Policy,
    PromptBatch,
    Response,
    ResponseSource,
    RewardAdvantage,
    SelfSource,
    Source,
    TeacherSource,
)
from lightning_gft.metrics import GroupStatistics
from tests.reference import group_normalized
from tests.tiny import prompt_batch, tiny_policy

PROMPTS = ["1+1=", "20+20+20=", "3="]
REFERENCES = ["2", "60", "3"]
EXPERT = [["2"], [], ["3"]]
TEACHER = [["2", "3", "2"], ["59"], []]


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny_policy()


def batch(policy: Policy, **demonstrations: list[list[str]]) -> PromptBatch:
    return prompt_batch(policy.tokenizer, PROMPTS, REFERENCES, demonstrations)


def full_sampler() -> GroupSampler:
    return GroupSampler(
        sources={"own": SelfSource(2, max_new_tokens=6), "gold": ExpertSource(), "teacher": TeacherSource(3)},
        rewards={"accuracy": ExactMatchReward(), "digits": FormatReward("[0-9]+", weight=0.5)},
    )


@pytest.fixture(scope="module")
def groups(policy: Policy) -> GroupBatch:
    return full_sampler().sample(batch(policy, expert=EXPERT, teacher=TEACHER), policy, seed=0)


def test_groups_stand_one_after_the_other_with_sources_in_order(groups: GroupBatch):
    own, gold, teacher = int(Source.SELF), int(Source.EXPERT), int(Source.TEACHER)
    assert groups.group_index.tolist() == [0] * 6 + [1] * 3 + [2] * 3
    assert groups.source.tolist() == [own, own, gold, *[teacher] * 3, own, own, teacher, own, own, gold]
    assert groups.prompts == [PROMPTS[i] for i in groups.group_index.tolist()]
    demonstrated = [text for text, source in zip(groups.responses, groups.source, strict=True) if source != own]
    assert demonstrated == ["2", "2", "3", "2", "59", "3"]


def test_masks_cover_prompt_and_response_exactly(groups: GroupBatch, policy: Policy):
    tokenizer = policy.tokenizer
    for n in range(len(groups)):
        response = groups.input_ids[n][groups.response_mask[n]].tolist()
        prompt = groups.input_ids[n][groups.attention_mask[n] & ~groups.response_mask[n]].tolist()
        assert prompt == tokenizer.encode(groups.prompts[n])
        assert policy.decode(response) == groups.responses[n]
        assert (response[-1] == tokenizer.eos_token_id) == bool(groups.finished[n])
        assert groups.source[n] == Source.SELF or response[:-1] == tokenizer.encode(groups.responses[n])
    padding = ~groups.attention_mask
    assert padding.any()
    assert not (padding & groups.response_mask).any()
    assert (groups.input_ids[padding] == policy.pad_token_id).all()
    assert not groups.response_mask[:, 0].any()
    assert groups.attention_mask.any(dim=0).all()  # no column of padding alone


def test_rewards_and_advantages(groups: GroupBatch):
    for n, (text, group) in enumerate(zip(groups.responses, groups.group_index.tolist(), strict=True)):
        right, digits = float(text == REFERENCES[group]), float(text.isdigit())
        assert groups.reward_parts["accuracy"][n] == right
        assert groups.reward_parts["digits"][n] == digits
        assert groups.rewards[n] == right + 0.5 * digits
    expected = group_normalized(groups.rewards.tolist(), groups.group_index.tolist())
    assert groups.advantages.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert any(expected)


def test_sampling_logprobs_are_there_for_own_samples_only(groups: GroupBatch, policy: Policy):
    own = (groups.source == Source.SELF)[:, None] & groups.response_mask
    assert groups.sampling_logprobs[own].lt(0).all()
    assert torch.equal(groups.sampling_logprobs.isnan(), groups.response_mask & ~own)


def test_the_seed_decides_own_samples(groups: GroupBatch, policy: Policy):
    prompts = batch(policy, expert=EXPERT, teacher=TEACHER)
    assert full_sampler().sample(prompts, policy, seed=0).responses == groups.responses
    assert full_sampler().sample(prompts, policy, seed=1).responses != groups.responses


def test_two_self_sources_draw_differently(policy: Policy):
    sources = {"one": SelfSource(2, max_new_tokens=8), "two": SelfSource(2, max_new_tokens=8)}
    groups = GroupSampler(sources, {"accuracy": ExactMatchReward()}).sample(batch(policy), policy, seed=0)
    assert groups.responses[:2] != groups.responses[2:4]


def test_columns_reach_the_reward_row_by_row(policy: Policy):
    class Columns(ExactMatchReward):
        def __call__(self, *, prompts, responses, references, **columns):
            given = zip(prompts, columns["zeros"], strict=True)
            return torch.tensor([float(prompt.count("0") == zeros) for prompt, zeros in given])

    prompts = batch(policy, teacher=[["1", "2"], ["3"], ["4", "5", "6"]])
    prompts = PromptBatch(**{**vars(prompts), "columns": {"zeros": [0, 3, 0]}})
    sampler = GroupSampler({"teacher": TeacherSource(3)}, {"zeros": Columns()}, RewardAdvantage())
    assert sampler.sample(prompts, policy, seed=0).rewards.tolist() == [1.0] * 6


def test_prompts_without_any_response_are_counted(policy: Policy):
    sampler = GroupSampler({"expert": ExpertSource()}, {"accuracy": ExactMatchReward()}, RewardAdvantage())
    groups = sampler.sample(batch(policy, expert=EXPERT), policy, seed=0)
    assert groups.group_index.tolist() == [0, 2]
    statistics = GroupStatistics(["accuracy"])
    statistics.update(groups, num_prompts=len(PROMPTS))
    assert statistics.compute()["frac_prompts_without_group"].item() == pytest.approx(1 / 3)


def test_no_response_at_all_makes_an_empty_batch(policy: Policy):
    sampler = GroupSampler(
        {"gold": ExpertSource(), "strong": TeacherSource()}, {"accuracy": ExactMatchReward()}, RewardAdvantage()
    )
    prompts = batch(policy, expert=[[], [], []], teacher=[[], [], []])
    groups = sampler.sample(prompts, policy, seed=0)
    assert (len(groups), groups.responses) == (0, [])
    assert groups.advantages.shape == groups.reward_parts["accuracy"].shape == (0,)
    assert groups.teacher_logprobs is not None  # none is missing, so a rank without responses is not refused


def test_missing_role_is_an_error(policy: Policy):
    with pytest.raises(ValueError, match=r"^`TeacherSource`: expected a column of teacher responses"):
        full_sampler().sample(batch(policy, expert=EXPERT), policy, seed=0)


@pytest.mark.parametrize(
    ("sources", "rewards", "message"),
    [
        ({}, {"accuracy": ExactMatchReward()}, "`sources`: expected at least one"),
        ({"expert": ExpertSource()}, {}, "`rewards`: expected at least one"),
    ],
)
def test_empty_sets_are_refused(sources: dict, rewards: dict, message: str):
    with pytest.raises(ValueError, match=message):
        GroupSampler(sources, rewards)


def test_group_size():
    assert full_sampler().group_size == 6


class Given(ResponseSource):
    """Gives the responses that a test chooses."""

    source = Source.TEACHER

    def __init__(self, given: Any) -> None:
        super().__init__(num_responses=1)
        self.given = given

    def respond(self, prompts: PromptBatch, policy: Any, seed: int) -> Any:
        return self.given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "expected a list of responses for each of 1 prompts, got None"),
        ([], r"expected a list of responses for each of 1 prompts, got \[\]"),
        ([Response([1])], "expected a list of responses for each of 1 prompts"),
        ([[Response([1]), Response([2])]], "expected at most 1 responses per prompt, got 2"),
        ([["text"]], "expected a Response"),
        ([[Response([1, -1])]], "expected token ids"),
        ([[Response([1, 2.0])]], "expected token ids"),  # type: ignore[list-item]
        ([[Response([1, 2], logprobs=[-1.0])]], "expected logprobs of 2 tokens, got 1"),
        ([[Response([1, 2], teacher_logprobs=[-1.0])]], "expected teacher_logprobs of 2 tokens, got 1"),
    ],
)
def test_what_a_source_gives_is_checked(given: Any, message: str):
    policy = tiny_policy()
    sampler = GroupSampler({"odd": Given(given)}, {"accuracy": ExactMatchReward()}, RewardAdvantage())
    with pytest.raises((TypeError, ValueError), match=rf"`sources\.odd`: {message}"):
        sampler.sample(prompt_batch(policy.tokenizer, ["1+1="], ["2"]), policy, seed=0)


@pytest.mark.parametrize(
    "advantages", [None, [0.0], torch.zeros(2), torch.zeros(1, 1), torch.tensor([torch.nan])], ids=str
)
def test_advantages_are_one_finite_number_a_response(advantages: Any):
    class Odd(RewardAdvantage):
        def __call__(self, groups: Any) -> Any:
            return advantages

    policy = tiny_policy()
    sampler = GroupSampler({"one": Given([[Response([1])]])}, {"accuracy": ExactMatchReward()}, Odd())
    with pytest.raises(ValueError, match="`advantage`: expected 1 finite advantages from Odd"):
        sampler.sample(prompt_batch(policy.tokenizer, ["1+1="], ["2"]), policy, seed=0)
