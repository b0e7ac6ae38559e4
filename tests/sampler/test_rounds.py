"""Dynamic sampling: prompts are sampled only until enough groups have rewards that differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from lightning_gft import (
    ExpertSource,
    GFTLitModule,
    GFTLoss,
    GroupBatch,
    GroupNormalizedAdvantage,
    GroupSampler,
    Policy,
    PromptBatch,
    Reward,
    SelfSource,
    SFTLoss,
    TeacherSource,
)
from lightning_gft.metrics import GroupStatistics
from tests.module.runs import ROWS, Rows, fit, sgd
from tests.tiny import prompt_batch, tiny_loader, tiny_policy

PROMPTS = [f"{number}+{number % 3}=" for number in range(12)]
GIVEN = [[str(number), f"{number}{number}", "7"] for number in range(12)]


class DiffersFor(Reward):
    """The length of a response to some of the prompts, and 1 for the others."""

    def __init__(self, *numbers: int) -> None:
        super().__init__()
        self.prompts = {PROMPTS[number] for number in numbers}
        self.calls: list[int] = []

    def __call__(self, *, prompts: Sequence[str], responses: Sequence[str], **rest: Any) -> list[float]:
        self.calls.append(len(responses))
        return [
            float(len(text)) if prompt in self.prompts else 1.0 for prompt, text in zip(prompts, responses, strict=True)
        ]


class Counted(GroupNormalizedAdvantage):
    """Keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[GroupBatch] = []

    def __call__(self, groups: GroupBatch) -> Any:
        self.given.append(groups)
        return super().__call__(groups)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny_policy()


def batch(policy: Policy, places: list[int] | None = None) -> PromptBatch:
    prompts = prompt_batch(policy.tokenizer, PROMPTS, demonstrations={"teacher": GIVEN})
    return replace(prompts, columns={"n": list(range(12))}, places=places)


def sampler(reward: Reward, num_groups: int | None) -> GroupSampler:
    sources = {"teacher": TeacherSource(2), "own": SelfSource(2, max_new_tokens=5)}
    return GroupSampler(sources, {"length": reward}, Counted(), num_groups)


def tried_by_hand(differs: Sequence[bool], wanted: int) -> list[int]:
    """Return the ends of the rounds, prompt by prompt: as many as are missing, divided by the share that differed."""
    ends = [0]
    while ends[-1] < len(differs) and sum(differs[: ends[-1]]) < wanted:
        so_far, end = sum(differs[: ends[-1]]), ends[-1]
        size = wanted if end == 0 else end
        if so_far:
            size = 1
            while size * so_far / end < wanted - so_far:
                size += 1
        ends.append(min(end + size, len(differs)))
    return ends[1:]


@pytest.mark.parametrize("places", [None, [2 * number + 1 for number in range(12)]], ids=["alone", "of two ranks"])
@pytest.mark.parametrize(
    ("differing", "wanted"),
    [((0, 1), 2), ((3, 7, 8, 9), 2), ((0, 5, 6, 9, 11), 3), ((10,), 4), ((), 1), (tuple(range(12)), 12)],
)
def test_what_is_tried_is_the_beginning_of_the_whole_batch(differing, wanted, places, policy: Policy):
    whole = sampler(DiffersFor(*differing), None).sample(batch(policy, places), policy, seed=3)
    differs = [len(set(whole.rewards[whole.group_index == i].tolist())) > 1 for i in range(12)]
    assert sum(differs) == len(differing)
    reward, tried = DiffersFor(*differing), sampler(DiffersFor(*differing), wanted)
    tried.rewards["length"] = reward
    groups = tried.sample_for_training(batch(policy, places), policy, seed=3)
    ends = tried_by_hand(differs, wanted)
    assert groups.num_tried == ends[-1]
    assert reward.calls == [4 * (end - start) for start, end in zip([0, *ends], ends, strict=False)]
    kept = (whole.group_index < ends[-1]).nonzero().squeeze(1)
    expected = whole.select(kept)
    for name in ("input_ids", "attention_mask", "response_mask", "group_index", "source", "rewards", "finished"):
        assert torch.equal(getattr(groups, name), getattr(expected, name)), name
    torch.testing.assert_close(groups.sampling_logprobs, expected.sampling_logprobs, rtol=0, atol=1e-5, equal_nan=True)
    torch.testing.assert_close(groups.advantages, expected.advantages)
    assert (groups.prompts, groups.responses) == (expected.prompts, expected.responses)
    assert groups.excluded.tolist() == [not differs[i] for i in groups.group_index.tolist()]


def test_the_advantage_is_estimated_once_with_all_groups(policy: Policy):
    tried = sampler(DiffersFor(3, 7), 2)
    groups = tried.sample_for_training(batch(policy), policy, seed=0)
    [given] = tried.advantage.given
    assert len(given) == len(groups) == 4 * 8
    assert given.excluded is groups.excluded


def test_without_a_number_of_groups_all_prompts_are_sampled(policy: Policy):
    groups = sampler(DiffersFor(3), None).sample_for_training(batch(policy), policy, seed=0)
    assert groups.excluded is groups.num_tried is None
    assert len(groups) == 4 * 12
    asked = sampler(DiffersFor(3), 1).sample(batch(policy), policy, seed=0)  # as predict and evaluation do
    assert asked.excluded is None
    assert asked.responses == groups.responses


def test_no_loss_trains_on_what_is_excluded_or_counts_it(policy: Policy):
    groups = sampler(DiffersFor(3, 7), 2).sample_for_training(batch(policy), policy, seed=0)
    loss = GFTLoss()
    assert loss.trained(groups).sum() <= 8
    _, counts = loss.reduce(groups)
    assert counts.tolist() == [int(groups.response_lengths[~groups.excluded].sum())]


def test_figures_tell_what_was_tried_and_what_never_was(policy: Policy):
    groups = sampler(DiffersFor(3, 7), 2).sample_for_training(batch(policy), policy, seed=0)
    statistics = GroupStatistics(["length"])
    statistics.update(groups, num_prompts=12)
    figures = {name: float(value) for name, value in statistics.compute().items()}
    assert figures["sampling/frac_prompts_tried"] == pytest.approx(8 / 12)
    assert figures["sampling/num_prompts_never_sampled"] == 4
    assert figures["sampling/frac_groups_excluded"] == pytest.approx(6 / 8)
    assert figures["sampling/num_groups"] == 2
    assert figures["frac_reward_zero_std"] == pytest.approx(6 / 8)
    assert figures["frac_prompts_without_group"] == 0
    statistics = GroupStatistics(["length"])
    statistics.update(sampler(DiffersFor(), None).sample(batch(policy), policy, seed=0), num_prompts=12)
    assert not [name for name in statistics.compute() if name.startswith("sampling/")]


class DiffersLast(Reward):
    """Tells responses to the last row apart, and no others."""

    def __call__(self, *, prompts: Sequence[str], responses: Sequence[str], **rest: Any) -> list[float]:
        last = ROWS[-1]["prompt"]
        return [float(len(text)) * (prompt == last) for prompt, text in zip(prompts, responses, strict=True)]


def module_with(num_groups: int | None, loss: Any = None, **settings: Any) -> GFTLitModule:
    sources = {"teacher": TeacherSource(4)}
    made = GroupSampler(sources, {"length": DiffersLast()}, num_groups=num_groups)
    return GFTLitModule(tiny_loader(), made, loss or GFTLoss(), optimizer=sgd(), **settings)


def test_a_run_reports_them_and_trains_on_the_group_that_differs():
    module = module_with(1)
    trainer = fit(module, Rows([*ROWS, *ROWS], batch_size=8), log_every_n_steps=1)
    figures = trainer.callback_metrics
    assert figures["train/sampling/frac_prompts_tried"] == 4 / 8
    assert figures["train/sampling/num_prompts_never_sampled"] == 4
    assert figures["train/sampling/num_groups"] == 1
    assert figures["train/grad_norm"] > 0
    assert "train/sampling/num_groups" in module.logged_names()


def test_too_few_groups_that_differ_are_trained_on_as_they_are():
    trainer = fit(module_with(3), log_every_n_steps=1)
    figures = trainer.callback_metrics
    assert figures["train/sampling/num_groups"] == 1
    assert figures["train/sampling/frac_prompts_tried"] == 1
    assert figures["train/grad_norm"] > 0


@pytest.mark.parametrize("number", [0, -1, 1.5, "2"])
def test_a_number_of_groups_is_a_positive_whole_number(number: Any):
    with pytest.raises((ValueError, TypeError), match="`num_groups`: expected a whole number of at least 1, or null"):
        GroupSampler({"e": ExpertSource()}, {"length": DiffersFor()}, num_groups=number)


def test_more_groups_than_prompts_are_refused_before_weights_are_loaded():
    module = module_with(5)
    with pytest.raises(ValueError, match=r"`num_groups`: expected at most the data's batch_size=4, .* got 5; lower it"):
        fit(module, Rows(batch_size=4))
    assert not hasattr(module, "policy")


def test_a_loss_without_advantages_takes_every_group():
    with pytest.raises(ValueError, match=r"`sampler\.num_groups`: expected null for SFTLoss, which uses no advantages"):
        module_with(2, SFTLoss())


def test_a_run_resumes_to_the_bit(tmp_path):
    def run(**arguments: Any) -> GFTLitModule:
        module = module_with(1)
        module.sampler.sources["own"] = SelfSource(3, max_new_tokens=5)
        trainer = fit(module, Rows([*ROWS, *ROWS[::-1]] * 2, batch_size=4), **arguments)
        trainer.save_checkpoint(tmp_path / f"{trainer.global_step}.ckpt")
        return module

    whole = run(max_steps=4)
    run(max_steps=2)
    resumed = run(max_steps=4, ckpt_path=str(tmp_path / "2.ckpt"))
    for one, other in zip(whole.policy.parameters(), resumed.policy.parameters(), strict=True):
        assert torch.equal(one, other)
