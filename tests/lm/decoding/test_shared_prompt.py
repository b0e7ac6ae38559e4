"""Prompts held once give what prompts repeated for each response give."""

from __future__ import annotations

import logging
from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lightning_gft import LoRA, Policy, Response, SamplingParams, ScratchPolicy
from lightning_gft.lm.decoding import decoder
from lightning_gft.lm.decoding.shareable import shares_prompts
from lightning_gft.lm.decoding.shared_prompt import SharedPrompts
from lightning_gft.lm.decoding.slots import Slots
from tests.conftest import quick
from tests.tiny import ALPHABET, tiny_loader, tiny_policy

PROMPTS = ["1+1=", "12-3+4=", "a", "b-7+c=3"]
SAMPLING = SamplingParams(max_new_tokens=40)
SHARING: dict[str, dict[str, Any]] = {
    "qwen2": {"num_key_value_heads": 1},
    "gpt2": {},
    "cohere": {},
    "mistral": {"sliding_window": 48},  # one more than the longest
}
REPEATING: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": 47},
    "gemma2": {"head_dim": 16},  # capped scores, which eager attention alone takes
    "bloom": {},  # positions in the mask
}


def draw(policy: Policy, count: int = 6) -> list[Response]:
    ids = [policy.tokenizer.encode(prompt) for prompt in PROMPTS]
    policy.model.eval()
    return list(chain.from_iterable(policy.generate(ids, count, SAMPLING, seed=0)))


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of responses that went on, at each step with prompts held once."""
    steps: list[int] = []

    class Counted(SharedPrompts):
        def advance(self, tokens: Tensor) -> Tensor:
            steps.append(len(tokens))
            return super().advance(tokens)

    monkeypatch.setattr(decoder, "SharedPrompts", Counted)
    return steps


@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize("model_type", quick(SHARING, "qwen2", "mistral"))
def test_prompts_held_once_give_what_prompts_repeated_give(
    model_type: str, count: int, shared: list[int], monkeypatch: pytest.MonkeyPatch
):
    policy = tiny_policy(model_type, **SHARING[model_type])
    held_once = draw(policy, count)
    assert shared
    monkeypatch.setattr(decoder, "attends_to_all", lambda *_: False)
    steps = len(shared)
    repeated = draw(policy, count)
    assert len(shared) == steps
    assert [response.token_ids for response in held_once] == [response.token_ids for response in repeated]
    for one, other in zip(held_once, repeated, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_responses_end_one_after_the_other(shared: list[int]):
    drawn = draw(tiny_policy("qwen2"))
    lengths = [len(response.token_ids) for response in drawn]
    assert shared == [sum(length > step for length in lengths) for step in range(1, max(lengths))]
    assert len(set(shared)) > 5  # so that both prompts and rows have been left out on the way


@pytest.mark.parametrize("model_type", REPEATING)
def test_attention_of_another_kind_is_left_alone(model_type: str, shared: list[int]):
    config = REPEATING[model_type]
    if model_type == "bloom":
        small = {"hidden_size": 32, "n_layer": 2, "n_head": 2, "initializer_range": 0.3}
        policy = ScratchPolicy(ALPHABET, "bloom", small).load()
    else:
        policy = tiny_policy(model_type, **config)
    assert draw(policy)
    assert not shared


def test_with_adapters(shared: list[int]):
    torch.manual_seed(0)
    policy = ScratchPolicy(
        ALPHABET, "qwen2", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}, lora=LoRA(r=2)
    ).load()
    assert draw(policy)
    assert shared


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types(dtype: torch.dtype, shared: list[int]):
    policy = tiny_policy("qwen2")
    policy.model.to(dtype)
    for response in draw(policy):
        assert response.logprobs is not None
    assert shared


def test_autocast(shared: list[int], monkeypatch: pytest.MonkeyPatch):
    policy = tiny_policy("qwen2")
    types = []
    draw(policy)  # tries, without autocast, whether prompts can be held once
    attend = SharedPrompts.attend

    def seen(
        self: SharedPrompts, function: Any, module: Any, query: Tensor, key: Tensor, value: Tensor, **more: Any
    ) -> Tensor:
        types.append((key.dtype, value.dtype, self.layers[0].prompt_values.dtype))
        return attend(self, function, module, query, key, value, **more)

    monkeypatch.setattr(SharedPrompts, "attend", seen)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        drawn = draw(policy)
    assert set(types) == {(torch.bfloat16,) * 3}
    # A response's own tokens are scored alike in one pass, but for what half precision leaves out.
    for response in drawn[:4]:
        ids = torch.tensor([[*policy.tokenizer.encode(PROMPTS[0]), *response.token_ids]])
        length = len(response.token_ids)
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
            scores = policy.model(ids).logits[0, -length - 1 : -1].float().log_softmax(-1)
        expected = scores.gather(1, ids[0, -length:, None]).squeeze(1)
        torch.testing.assert_close(torch.tensor(response.logprobs), expected, rtol=0, atol=0.3)


@pytest.mark.parametrize("name", quick(["deepseek_v3", "jetmoe", "doge"], "doge"))
def test_layers_that_do_not_attend_to_what_they_keep_draw_from_repeated_prompts(
    name: str, shared: list[int], caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.INFO, logger="lightning.pytorch"):
        policy = tiny_policy(name)
        drawn = draw(policy, 2)
        draw(policy, 1)
    assert not shared
    assert caplog.text.count("rollouts keep a copy of the prompt for each response") == 1
    ids = torch.tensor([policy.tokenizer.encode(PROMPTS[0]) + drawn[0].token_ids])
    with torch.no_grad():
        scores = policy.model(ids, use_cache=False).logits[0].log_softmax(-1)
    expected = scores[:-1].gather(1, ids[0, 1:, None]).squeeze(1)[-len(drawn[0].token_ids) :]
    torch.testing.assert_close(torch.tensor(drawn[0].logprobs), expected, rtol=0, atol=1e-4)


def test_rollouts_leave_a_models_attention_as_it_is():
    policy = tiny_policy("qwen2")
    ids = torch.arange(8).unsqueeze(0)
    with torch.no_grad():
        before = policy.model.eval()(input_ids=ids).logits
        draw(policy)
        torch.testing.assert_close(policy.model(input_ids=ids).logits, before, rtol=0, atol=0)
    assert policy.model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("change", ["keys", "attention"])
def test_a_model_that_attends_in_its_own_way_is_found_out(change: str, monkeypatch: pytest.MonkeyPatch):
    model = tiny_loader("qwen2").load_model().eval()
    attention = type(model.base_model.layers[0].self_attn)

    def own_way(self: Any, hidden_states: Tensor, past_key_values: Any, **kwargs: Any) -> tuple[Tensor, None]:
        states = hidden_states.unflatten(2, (2, -1)).transpose(1, 2)
        keys, values = past_key_values.update(states, states, self.layer_idx)
        if change == "keys":
            kwargs.pop("attention_mask", None)
            mask = torch.ones(1, 1, 1, 1, dtype=torch.bool)
            ALL_ATTENTION_FUNCTIONS["sdpa"](self, states, keys + 1, values, mask, **kwargs)
        return hidden_states, None

    monkeypatch.setattr(attention, "forward", own_way)
    found = shares_prompts(model)
    assert not found.value
    assert found.reason.startswith("rollouts keep a copy of the prompt for each response: Qwen2ForCausalLM: its layers")


def test_slots_of_some_of_the_responses():
    slots = Slots.filling(5, torch.device("cpu")).of(torch.tensor([1, 2, 4]))
    assert slots.taken.tolist() == [1, 2, 4]
    assert not slots.full
    assert slots.gather(slots.spread(torch.arange(6).view(3, 2))).tolist() == [[0, 1], [2, 3], [4, 5]]
    tensor = torch.zeros(5)
    slots.of(torch.tensor([0, 2])).write(torch.ones(2), into=tensor)
    assert tensor.tolist() == [0, 1, 0, 0, 1]
