"""Teachers give log-probabilities of the policy's own responses, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from lightning_gft import (
    DemonstrationTeacher,
    DistillationLoss,
    Evaluation,
    ExactMatchReward,
    ExpertSource,
    GFTLitModule,
    GroupSampler,
    ModelTeacher,
    Policy,
    PretrainedPolicy,
    PromptBatch,
    Response,
    RewardAdvantage,
    SamplingParams,
    ScratchPolicy,
    SelfSource,
    SFTLoss,
    Source,
    Teacher,
)
from lightning_gft.data import Example
from lightning_gft.metrics import GroupStatistics
from lightning_gft.preflight import warn_of_unused
from tests.module.runs import ROWS, DigitSum, Rows, fit, make_module, sgd, weights
from tests.tiny import ALPHABET, prompt_batch, tiny_loader, tiny_policy

PROMPTS = ["1+1=", "20+20+20=", "3="]
EXPERT = [["2"], ["60", "6-0"], []]
TEMPLATE = "{demonstration}#{prompt}"
SHOWN = [["2#1+1="], ["60#20+20+20=", "6-0#20+20+20="], []]


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny_policy()


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    tiny_policy(seed=1).save_pretrained(folder)
    return folder


def batch(policy: Policy) -> PromptBatch:
    return prompt_batch(policy.tokenizer, PROMPTS, demonstrations={"expert": EXPERT})


def drawn(policy: Policy) -> list[list[Response]]:
    return policy.generate(batch(policy).prompt_ids, 3, SamplingParams(max_new_tokens=6), seed=0)


def one_by_one(policy: Policy, prompt_ids: Sequence[int], response: Response) -> list[float]:
    """Return log-probabilities of a response's tokens from the whole distribution at each, without a batch."""
    ids = [*prompt_ids, *response.token_ids]
    with torch.no_grad():
        logits = policy.model.eval()(torch.tensor([ids])).logits[0].double()
    return [logits[t - 1].log_softmax(dim=-1)[ids[t]].item() for t in range(len(prompt_ids), len(ids))]


@pytest.mark.parametrize("budget", [7, 16384])
def test_a_model_judges_the_policys_responses(budget: int, policy: Policy, other: Path):
    teacher = ModelTeacher(PretrainedPolicy(str(other)), micro_batch_tokens=budget)
    responses, prompts = drawn(policy), batch(policy)
    teacher.setup()
    judged = teacher.logprobs(prompts, responses, policy, seed=0)
    model = tiny_policy(seed=1)
    for ids, own, given in zip(prompts.prompt_ids, responses, judged, strict=True):
        for response, values in zip(own, given, strict=True):
            assert values == pytest.approx(one_by_one(model, ids, response), abs=1e-4)
            assert values != pytest.approx(response.logprobs, abs=0.1)
    teacher.close()
    assert teacher._policy is None


def test_a_teacher_is_loaded_once_and_not_trained(policy: Policy, other: Path):
    teacher = ModelTeacher(PretrainedPolicy(str(other)))
    teacher.setup()
    first = teacher._policy
    teacher.setup()
    assert first is teacher._policy
    assert not first.model.training
    assert not any(weight.requires_grad for weight in first.parameters())


def test_loading_a_teacher_leaves_the_policys_first_weights_alone(other: Path):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    ModelTeacher(tiny_loader()).setup()
    assert torch.equal(torch.rand(3), expected)


def test_the_policy_judges_with_the_demonstration_before_it(policy: Policy):
    teacher, responses, prompts = DemonstrationTeacher(TEMPLATE), drawn(policy), batch(policy)
    seen = set()
    for seed in range(8):
        judged = teacher.logprobs(prompts, responses, policy, seed)
        assert judged == teacher.logprobs(prompts, responses, policy, seed)
        assert judged[2] is None  # nothing is shown
        for own, given, texts in zip(responses[:2], judged[:2], SHOWN[:2], strict=True):
            expected = {
                text: [one_by_one(policy, policy.tokenizer.encode(text), response) for response in own]
                for text in texts
            }
            [shown] = [
                text
                for text, of_text in expected.items()
                if all(one == pytest.approx(two, abs=1e-4) for one, two in zip(given, of_text, strict=True))
            ]
            seen.add(shown)
    assert seen == {"2#1+1=", "60#20+20+20=", "6-0#20+20+20="}


def test_places_decide_what_is_shown(policy: Policy):
    teacher, responses, prompts = DemonstrationTeacher(TEMPLATE), drawn(policy), batch(policy)
    whole = teacher.logprobs(prompts, responses, policy, seed=5)
    part = teacher.logprobs(prompts[1:2], responses[1:2], policy, seed=5)
    assert part[0] == [pytest.approx(values, abs=1e-5) for values in whole[1]]


def test_own_responses_carry_what_the_teacher_says_and_demonstrations_do_not(policy: Policy):
    own = SelfSource(3, max_new_tokens=6, teacher=DemonstrationTeacher(TEMPLATE))
    sampler = GroupSampler({"gold": ExpertSource(), "own": own}, {"accuracy": ExactMatchReward()}, RewardAdvantage())
    prompts = replace(batch(policy), references=["2", "60", "3"])
    groups = sampler.sample(prompts, policy, seed=0)
    known = ~groups.teacher_logprobs.isnan()
    shown = (groups.source == Source.SELF) & (groups.group_index < 2)
    assert torch.equal(known & groups.response_mask, groups.response_mask & shown[:, None])
    assert known[~groups.response_mask].all()
    assert groups.teacher_logprobs[shown][groups.response_mask[shown]].lt(0).all()
    statistics = GroupStatistics(["accuracy"])
    statistics.update(groups, num_prompts=3)
    assert statistics.compute()["completions/without_teacher_ratio"].item() == pytest.approx(3 / 9)
    assert DistillationLoss().takes_part(groups).tolist() == shown.tolist()


def test_a_rank_whose_prompts_have_no_demonstration_is_not_refused(policy: Policy):
    own = SelfSource(2, max_new_tokens=4, teacher=DemonstrationTeacher(TEMPLATE))
    sampler = GroupSampler({"own": own}, {"accuracy": ExactMatchReward()})
    groups = sampler.sample(replace(batch(policy)[2:], references=["3"]), policy, seed=0)
    assert groups.teacher_logprobs[groups.response_mask].isnan().all()
    assert not DistillationLoss().trained(groups).any()
    statistics = GroupStatistics(["accuracy"])
    statistics.update(groups, num_prompts=1)
    assert statistics.compute()["completions/without_teacher_ratio"] == 1


def test_without_a_teacher_no_response_carries_any(policy: Policy):
    sampler = GroupSampler({"own": SelfSource(3)}, {"accuracy": ExactMatchReward()})
    groups = sampler.sample(replace(batch(policy), references=["2", "60", "3"]), policy, seed=0)
    assert groups.teacher_logprobs is None
    statistics = GroupStatistics(["accuracy"])
    statistics.update(groups, num_prompts=3)
    assert "completions/without_teacher_ratio" not in statistics.compute()


def test_what_a_self_source_says_of_its_teacher():
    assert SelfSource().gives() == frozenset() == SelfSource().reads()
    taught = SelfSource(teacher=DemonstrationTeacher(role="teacher"))
    assert taught.gives() == {"teacher_logprobs"}
    assert taught.reads() == {"teacher"}
    assert SelfSource(teacher=ModelTeacher(tiny_loader())).reads() == frozenset()
    with pytest.raises(TypeError, match="`teacher`: expected a Teacher, got 'gpt2'; give one such as Demonstration"):
        SelfSource(teacher="gpt2")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"template": "{prompt}"}, "`template` of DemonstrationTeacher: expected a text with {prompt} and {demonstr"),
        ({"template": "{demonstration}"}, "`template` of DemonstrationTeacher: expected a text with {prompt}"),
        ({"role": "self"}, "`role` of DemonstrationTeacher: expected expert or teacher, got 'self'"),
        ({"micro_batch_tokens": 0}, "`micro_batch_tokens` of DemonstrationTeacher: expected a whole number"),
    ],
)
def test_settings_without_sense_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        DemonstrationTeacher(**settings)


def module_with(teacher: Teacher | None, loss: Any = None, tokens: int = 4, **config: Any) -> GFTLitModule:
    sampler = GroupSampler({"own": SelfSource(2, tokens, teacher=teacher)}, {"score": DigitSum()})
    return GFTLitModule(tiny_loader(**config), sampler, loss or DistillationLoss(), optimizer=sgd())


def test_a_loss_without_a_teacher_is_refused_when_the_module_is_made():
    with pytest.raises(ValueError, match=r"`sampler.sources`: expected one that gives teacher_logprobs, which Distil"):
        module_with(None)


class NeverLoads(ScratchPolicy):
    def load_model(self) -> Any:
        raise AssertionError("the weights were loaded")


@pytest.mark.parametrize(
    ("teacher", "data", "config", "message"),
    [
        (
            ModelTeacher(NeverLoads(ALPHABET[::-1])),
            Rows(),
            {},
            r"`sources\.own`: `policy` of ModelTeacher: expected the policy's vocabulary of \d+ tokens, got another",
        ),
        (
            DemonstrationTeacher(TEMPLATE),
            Rows([{"prompt": "1=", "answer": "1", "teacher": ["1"]}]),
            {},
            "`DemonstrationTeacher`: expected a column of expert responses, got the columns 'prompt', 'answer'",
        ),
        (
            DemonstrationTeacher("1234567890" * 6 + TEMPLATE),
            Rows(),
            {"max_position_embeddings": 64},
            r"train data, row 1 .*: `DemonstrationTeacher`: the prompt with .* of 72 tokens and max_new_tokens=4",
        ),
        (
            ModelTeacher(tiny_loader(max_position_embeddings=10)),
            Rows(),
            {},
            "`policy` of ModelTeacher: .* a prompt of 7 tokens and max_new_tokens=4 .* window of 10 tokens",
        ),
    ],
)
def test_what_cannot_be_taught_is_refused_before_the_policy_is_loaded(teacher, data, config, message):
    module = module_with(teacher, **config)
    with pytest.raises(ValueError, match=message):
        fit(module, data)
    assert not hasattr(module, "policy")
    assert getattr(teacher, "_policy", None) is None  # closed


def test_a_column_that_a_teacher_reads_has_an_effect(recwarn):
    class Data:
        columns = type("Columns", (), {"expert_column": "gold", "teacher_column": None})

    sampler = GroupSampler({"own": SelfSource(teacher=DemonstrationTeacher())}, {"score": DigitSum()})
    warn_of_unused(Data(), tiny_loader(), [sampler])  # type: ignore[arg-type]
    assert not recwarn.list


def test_rows_are_looked_at_with_the_texts_that_they_show():
    tokenizer = tiny_loader().tokenizer
    row = Example(tokenizer.encode("12="), "34", None, {"expert": [Response([1])]}, {}, row=7)
    with pytest.raises(ValueError, match=r"train data, row 7 .*: expected the user's text .*'34'"):
        DemonstrationTeacher(TEMPLATE).check_prompts([row], tokenizer, 4)


@pytest.mark.parametrize("kind", ["demonstration", "model"])
def test_a_run_trains_towards_the_teacher_and_frees_it(kind: str, other: Path):
    teacher = DemonstrationTeacher(TEMPLATE) if kind == "demonstration" else ModelTeacher(PretrainedPolicy(str(other)))
    module = module_with(teacher)
    before = {name: value.clone() for name, value in weights_of(tiny_policy()).items()}
    figures = fit(module, Rows([*ROWS, *ROWS]), log_every_n_steps=1).callback_metrics
    assert figures["train/teacher_kl"] != 0
    assert figures["train/clip_ratio/high_mean"] == 0
    assert figures["train/completions/without_teacher_ratio"] == 0
    assert {"train/teacher_kl", "train/completions/without_teacher_ratio"} <= module.logged_names()
    assert any(not torch.equal(before[name], value) for name, value in weights(module).items())
    assert getattr(teacher, "_policy", None) is None


@pytest.mark.parametrize("updates", [1, 3])
def test_a_teacher_costs_one_more_forward(updates: int):
    module = module_with(DemonstrationTeacher(TEMPLATE))
    module.updates_per_batch = updates
    module.evaluator.settings = Evaluation(max_new_tokens=16, kl=False)
    with patch.object(Policy, "score", autospec=True, side_effect=Policy.score) as scored:
        fit(module, Rows([*ROWS, *ROWS]))
    assert scored.call_count == 2  # of two batches


def weights_of(policy: Policy) -> dict[str, Any]:
    return dict(policy.model.named_parameters())


def test_a_loss_that_needs_no_teacher_may_have_one():
    module = make_module(
        SFTLoss(), {"e": ExpertSource(), "own": SelfSource(1, 4, teacher=DemonstrationTeacher(TEMPLATE))}
    )
    fit(module)
