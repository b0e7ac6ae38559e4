"""Rollouts against transformers' own ``generate``, and what must not change them."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
import torch

from lightning_gft import (
    GroupSampler,
    NumericReward,
    Policy,
    Response,
    RewardAdvantage,
    SamplingParams,
    SelfSource,
    TransformersEngine,
)
from lightning_gft.lm.decoding.shareable import shares_prompts
from lightning_gft.lm.decoding.stopping import EndTokens
from lightning_gft.seeds import spawn_seeds
from tests.conftest import quick
from tests.tiny import prompt_batch, tiny_loader, tiny_policy

PROMPTS = ["1+1=", "12-3+4=", "a", "b-7+c=3", "12-3+4="]
ENDS = EndTokens(eos_token_ids=(1, 5, 9, 20), pad_token_id=0)
ARCHITECTURES = {
    "qwen2": {},
    "gpt2": {},  # absolute positions
    "gemma2": {"sliding_window": 4, "head_dim": 16},
    "cohere": {},
}


def load(model_type: str) -> Policy:
    policy = tiny_policy(model_type, **ARCHITECTURES[model_type])
    policy.model.eval()
    shares_prompts(policy.model)  # tried once, in passes of its own
    return policy


def encoded(policy: Policy, prompts: list[str] = PROMPTS) -> list[list[int]]:
    return [policy.tokenizer.encode(prompt) for prompt in prompts]


def draw(
    policy: Policy, sampling: SamplingParams, num_generations: int = 1, engine: TransformersEngine | None = None
) -> list[list[Response]]:
    seeds = spawn_seeds(3, len(PROMPTS) * num_generations)
    engine = engine or TransformersEngine()
    return engine.generate(policy.model, encoded(policy), num_generations, sampling, seeds, ENDS)


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_greedy_equals_transformers_generate(model_type: str):
    policy = load(model_type)
    drawn = draw(policy, SamplingParams(max_new_tokens=14, temperature=0.0))
    for ids, [response] in zip(encoded(policy), drawn, strict=True):
        [expected] = policy.model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            do_sample=False,
            max_new_tokens=14,
            eos_token_id=list(ENDS.eos_token_ids),
            pad_token_id=ENDS.pad_token_id,
        )[:, len(ids) :].tolist()
        assert response.token_ids == expected
        assert response.finished == (expected[-1] in ENDS.eos_token_ids)


def test_greedy_draws_differ_and_some_end_early():
    drawn = [draw(load(name), SamplingParams(max_new_tokens=14, temperature=0.0)) for name in ARCHITECTURES]
    responses = list(chain.from_iterable(chain.from_iterable(drawn)))
    assert 0 < sum(response.finished for response in responses) < len(responses)


@pytest.mark.parametrize("model_type", quick(["qwen2", "gpt2", "gemma2"], "qwen2", "gemma2"))
@pytest.mark.parametrize("max_batch_size", quick([1, 3, 4, 7, 1000], 3, 1000))
def test_a_response_is_the_same_whatever_else_is_in_the_batch(model_type: str, max_batch_size: int):
    policy, sampling = load(model_type), SamplingParams(max_new_tokens=10)
    seeds = spawn_seeds(3, 3 * len(PROMPTS))
    expected = [
        TransformersEngine().generate(policy.model, [ids], 1, sampling, [seeds[3 * i + k]], ENDS)[0][0]
        for i, ids in enumerate(encoded(policy))
        for k in range(3)
    ]
    drawn = list(chain.from_iterable(draw(policy, sampling, 3, TransformersEngine(max_batch_size))))
    assert [response.token_ids for response in drawn] == [response.token_ids for response in expected]
    assert [response.finished for response in drawn] == [response.finished for response in expected]
    for response, alone in zip(drawn, expected, strict=True):
        assert response.logprobs == pytest.approx(alone.logprobs, abs=1e-4)


@pytest.mark.parametrize("num_generations", quick([1, 3, 8], 3))
@pytest.mark.parametrize("max_batch_size", [1, 3, 8, 11])
def test_no_more_than_max_batch_size_responses_are_in_flight(num_generations: int, max_batch_size: int):
    policy, sizes = load("qwen2"), []
    policy.model.base_model.register_forward_pre_hook(
        lambda _, __, inputs: sizes.append(len(inputs["input_ids"])), with_kwargs=True
    )
    draw(policy, SamplingParams(max_new_tokens=4), num_generations, TransformersEngine(max_batch_size))
    assert max(sizes) <= max_batch_size


def test_a_prompt_is_prefilled_once_and_ended_responses_leave():
    policy, shapes = load("qwen2"), []
    policy.model.base_model.register_forward_pre_hook(
        lambda _, __, inputs: shapes.append(tuple(inputs["input_ids"].shape)), with_kwargs=True
    )
    drawn = list(chain.from_iterable(draw(policy, SamplingParams(max_new_tokens=12), 6)))
    lengths = [len(response.token_ids) for response in drawn]
    assert min(lengths) < max(lengths) == 12
    assert shapes[0] == (len(PROMPTS), max(map(len, encoded(policy))))
    # The last token of a response is never run.
    assert shapes[1:] == [(sum(length > step for length in lengths), 1) for step in range(1, 12)]


def test_responses_end_with_the_end_token_and_nowhere_else():
    policy = load("qwen2")
    drawn = list(chain.from_iterable(draw(policy, SamplingParams(max_new_tokens=8), 10)))
    for response in drawn:
        assert len(response.token_ids) == len(response.logprobs) <= 8
        assert not set(response.token_ids[:-1]) & set(ENDS.eos_token_ids)
        assert response.finished == (response.token_ids[-1] in ENDS.eos_token_ids)
        assert response.finished or len(response.token_ids) == 8
    assert 0 < sum(response.finished for response in drawn) < len(drawn)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_end_at_the_last_allowed_position(temperature: float):
    policy = load("qwen2")
    long = draw(policy, SamplingParams(24, temperature), 4)
    length = next(len(r.token_ids) for r in chain.from_iterable(long) if r.finished and len(r.token_ids) > 1)
    just, short = (draw(policy, SamplingParams(limit, temperature), 4) for limit in (length, length - 1))
    cases = 0
    for before, at, below in zip(*map(chain.from_iterable, (long, just, short)), strict=True):
        assert at.token_ids == before.token_ids[:length]
        assert below.token_ids == before.token_ids[: length - 1]
        assert at.finished == (len(before.token_ids) <= length and before.finished)
        assert below.finished == (len(before.token_ids) < length)
        cases += at.finished and not below.finished
    assert cases


SETTINGS = {
    "as-is": {},
    "greedy": {"temperature": 0.0},
    "cold": {"temperature": 0.7},
    "top_p": {"top_p": 0.9},
    "top_k": {"top_k": 5},
    "min_p": {"min_p": 0.2},
    "all": {"temperature": 0.7, "top_p": 0.9, "top_k": 8, "min_p": 0.05},
}


@pytest.mark.parametrize("settings", quick(SETTINGS, "greedy", "all"))
@pytest.mark.parametrize("model_type", quick(ARCHITECTURES, "qwen2", "gemma2"))
def test_logprobs_are_those_of_the_policy_at_temperature_1(model_type: str, settings: str):
    policy = load(model_type)
    num_generations = 1 if settings == "greedy" else 3
    source = SelfSource(num_generations, max_new_tokens=10, **SETTINGS[settings])
    sampler = GroupSampler({"self": source}, {"nothing": NumericReward()}, RewardAdvantage())
    groups = sampler.sample(prompt_batch(policy.tokenizer, PROMPTS, ["1"] * len(PROMPTS)), policy, seed=0)
    expected, _ = policy.token_logprobs(groups, 10_000)
    torch.testing.assert_close(groups.sampling_logprobs, expected, rtol=0, atol=1e-4)
    assert (expected[groups.response_mask] < -0.1).any()


def test_generate_follows_its_seed_and_leaves_the_mode_alone():
    policy = tiny_policy("gpt2", resid_pdrop=0.5)
    first, same, other = (policy.generate(encoded(policy), 2, SamplingParams(8), seed) for seed in (0, 0, 1))
    assert policy.model.training
    assert first == same
    assert first != other
    assert first[1] != first[4]  # the same prompt twice is drawn for twice
    policy.model.eval()
    assert policy.generate(encoded(policy), 2, SamplingParams(8), 0) == first
    assert not policy.model.training


@pytest.mark.parametrize("max_batch_size", quick([1, 3, 1000], 3, 1000))
@pytest.mark.parametrize("settings", [{}, {"temperature": 0.7, "top_p": 0.9, "min_new_tokens": 3}], ids=str)
def test_greedy_and_samples_of_one_call_are_those_of_two(settings: dict[str, Any], max_batch_size: int):
    policy = load("qwen2")
    policy.engine = TransformersEngine(max_batch_size)
    sampling, alone = SamplingParams(10, **settings), SamplingParams(10, **{**settings, "temperature": 0.0})
    both = policy.generate(encoded(policy), 3, sampling, seed=5, places=[4, 0, 3, 2, 1], with_greedy=True)
    samples = policy.generate(encoded(policy), 3, sampling, seed=5, places=[4, 0, 3, 2, 1])
    greedy = policy.generate(encoded(policy), 1, alone, seed=0)
    for drawn, first, others in zip(both, greedy, samples, strict=True):
        expected = first + others
        assert [response.token_ids for response in drawn] == [response.token_ids for response in expected]
        assert [response.finished for response in drawn] == [response.finished for response in expected]
        for one, other in zip(drawn, expected, strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_greedy_and_samples_share_one_prefill():
    policy, shapes = load("qwen2"), []
    policy.model.base_model.register_forward_pre_hook(
        lambda _, __, inputs: shapes.append(tuple(inputs["input_ids"].shape)), with_kwargs=True
    )
    policy.generate(encoded(policy), 3, SamplingParams(4), seed=0, with_greedy=True)
    assert shapes[0] == (len(PROMPTS), max(map(len, encoded(policy))))
    assert {width for _, width in shapes[1:]} == {1}


def test_an_engine_is_attached_once_and_learns_of_changed_weights():
    class Notes(TransformersEngine):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[object] = []

        def attach(self, policy: object) -> None:
            self.seen.append(policy)

        def weights_changed(self) -> None:
            self.seen.append("changed")

    engine, loader = Notes(), tiny_loader()
    policy = Policy(loader.load_model(), loader.tokenizer, engine)
    assert engine.seen == [policy]
    policy.weights_changed()
    assert engine.seen == [policy, "changed"]
    torch.nn.Sequential(policy).load_state_dict({f"0.{name}": value for name, value in policy.state_dict().items()})
    assert engine.seen == [policy, "changed", "changed"]


@pytest.mark.parametrize("given", [[[4]], [[4]] * 3, [[4], []]])
def test_an_engine_that_gives_another_number_of_responses_is_refused(given: list[list[int]]):
    class Given(TransformersEngine):
        def generate(self, *_: Any, **__: Any) -> list[list[Response]]:
            return [[Response(ids) for ids in given]]

    policy = tiny_policy()
    policy.engine = Given()
    with pytest.raises(RuntimeError, match="`rollout`: expected 2 responses of at least one token"):
        policy.generate([[3]], 1, SamplingParams(4), seed=0, with_greedy=True)


@pytest.mark.parametrize("max_batch_size", [0, -1])
def test_max_batch_size_is_checked(max_batch_size: int):
    with pytest.raises(ValueError, match=f"`max_batch_size`: expected .* at least 1, got {max_batch_size}"):
        TransformersEngine(max_batch_size)
