"""Sequences in one row, with shared prompts, against each by itself."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_gft import GroupBatch, LoRA, Policy, PretrainedPolicy, Quantization, SamplingParams
from lightning_gft.policy.packable import find_packability
from lightning_gft.policy.scoring import score
from tests.conftest import tiny_loader, tiny_policy
from tests.policy.test_scoring import (
    FUSED,
    MIXTURES,
    NORMALIZER,
    PLAIN,
    VOCABULARY,
    assert_equals_reference,
    gradients,
    load,
    objective,
)
from tests.reference import groups_with_shared_prompts

GROUPS = groups_with_shared_prompts()
WINDOWS: dict[str, dict[str, Any]] = {
    "mistral": {},
    "gemma2": {"head_dim": 16, "attn_logit_softcapping": 2.0},
    "gemma3_text": {"head_dim": 16},
    "cohere2": {},
    "gpt_oss": {"head_dim": 16, "num_local_experts": 4},
}


@pytest.mark.parametrize("name", [*FUSED, *PLAIN])
@pytest.mark.filterwarnings("ignore:.*does not serve.*")
def test_every_architecture_scores_as_if_sequences_were_apart(name: str):
    policy = load(name)
    assert policy.packability.longest is None
    assert_equals_reference(policy, GROUPS)


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_windows_shorter_than_sequences(name: str):
    policy = tiny_policy(name, vocab_size=VOCABULARY, sliding_window=4, **WINDOWS[name])
    if name == "gpt_oss":
        policy.model.set_experts_implementation("eager")
    assert policy.packability.longest is None
    assert_equals_reference(policy, GROUPS)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "qwen3_moe"])
def test_nothing_leaks_from_one_sequence_to_another(name: str):
    policy = load(name).double()
    tokens_before = 0
    expected = logprobs_of(policy, GROUPS)
    for n in range(len(GROUPS)):
        changed = GROUPS.input_ids.clone()
        others = GROUPS.response_mask.clone()
        others[n] = False
        changed[others] = (changed[others] + 1) % VOCABULARY
        stop = tokens_before + int(GROUPS.response_mask[n].sum())
        actual = logprobs_of(policy, replace(GROUPS, input_ids=changed))
        torch.testing.assert_close(actual[tokens_before:stop], expected[tokens_before:stop], rtol=0, atol=1e-6)
        assert stop == len(expected) or (actual[stop:] - expected[stop:]).abs().max() > 1e-3
        tokens_before = stop


def logprobs_of(policy: Policy, groups: GroupBatch) -> Tensor:
    with torch.no_grad():
        return policy(groups, objective, NORMALIZER).logprobs


def test_padding_and_packing_agree_in_single_precision():
    policy = tiny_policy(vocab_size=VOCABULARY)
    torch.testing.assert_close(run(policy, True), run(policy, False), rtol=1e-5, atol=1e-5)


def test_half_precision_is_as_exact_packed_as_padded():
    policy = tiny_policy(vocab_size=VOCABULARY)
    exact = run(policy, False)
    policy.to(torch.bfloat16)
    packed, padded = (distance(run(policy, pack), exact) for pack in (True, False))
    assert 0 < packed < 1.5 * padded


def distance(one: tuple[Tensor, Tensor, dict[str, Tensor]], other: tuple[Tensor, Tensor, dict[str, Tensor]]) -> float:
    differences = [(one[2][name].float() - value).square().sum() for name, value in other[2].items()]
    return float(torch.stack(differences).sum().sqrt())


def run(policy: Policy, packed: bool) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    def coefficients(logprobs: Tensor, _: slice) -> Tensor:
        return logprobs.exp() + 0.1

    output = score(policy.model, policy.head, GROUPS, coefficients, entropy=True, packed=packed)
    output.loss.backward()
    return output.loss.detach(), output.logprobs, gradients(policy)


def test_layers_computed_twice_are_packed_both_times():
    policy = load("gpt2").double().train()
    expected = run(policy, True)
    policy.model.gradient_checkpointing_enable({"use_reentrant": False})
    torch.testing.assert_close(run(policy, True), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(run(policy, False), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.slow  # two compilations
def test_a_compiled_model_is_packed_as_well():
    policy = load("gpt2").double()
    expected = run(policy, True)
    policy.model.base_model.compile(dynamic=True)
    torch.testing.assert_close(run(policy, True), expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(run(policy, False), expected, rtol=1e-9, atol=1e-10)
    [[response]] = policy.generate([[1, 2, 3]], 1, SamplingParams(max_new_tokens=4), 0)
    assert len(response.token_ids) <= 4


def test_adapters_and_four_bits(tmp_path: Path):
    tiny_policy(vocab_size=VOCABULARY).save_pretrained(tmp_path)
    policy = PretrainedPolicy(str(tmp_path), lora=LoRA(r=4), quantization=Quantization(compute_dtype="float32")).load(
        keep_reference=True
    )
    assert policy.packability.longest is None
    torch.testing.assert_close(run(policy, True), run(policy, False), rtol=1e-4, atol=1e-5)


def test_the_reference_is_packed_too():
    policy = tiny_policy(keep_reference=True, vocab_size=VOCABULARY)
    with policy.reference():
        reference = policy.token_logprobs(GROUPS, 100)
    torch.testing.assert_close(reference, policy.token_logprobs(GROUPS, 100), rtol=0, atol=0)


def test_a_model_that_can_be_packed_draws_and_is_saved_as_before(tmp_path: Path):
    loader = tiny_loader("gemma2", head_dim=16)
    torch.manual_seed(0)
    policy, prompt = loader.load(), loader.tokenizer.encode("1+1=")
    assert policy.model.config._attn_implementation == "packed_eager"
    [[response]] = policy.generate([prompt], 1, SamplingParams(max_new_tokens=8, temperature=0.0), 0)
    torch.manual_seed(0)
    model = loader.load_model().eval()
    ids = torch.tensor([prompt + response.token_ids])
    assert model(input_ids=ids).logits[0, len(prompt) - 1 : -1].argmax(dim=-1).tolist() == response.token_ids
    policy.save_pretrained(tmp_path)
    assert "packed" not in (tmp_path / "config.json").read_text()


@pytest.mark.parametrize("name", ["stablelm", "nemotron"])
def test_models_that_do_not_hand_packs_on_are_padded(name: str, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, logger="lightning.pytorch"):
        policy = tiny_policy(name, vocab_size=VOCABULARY)
    assert "sequences are padded, and each runs" in caplog.text
    assert "only 0 of its 2 layers are attention" in caplog.text
    assert policy.model.config._attn_implementation == "sdpa"
    assert_equals_reference(policy, GROUPS)


def test_an_attention_function_of_another_kind_is_left_alone():
    torch.manual_seed(0)
    model = tiny_loader().load_model()
    model.set_attn_implementation("flex_attention")
    found = find_packability(model)
    assert str(found) == (
        "sequences are padded, and each runs through the model with a prompt of its own: "
        "attn_implementation='flex_attention' knows no packs"
    )
    assert model.config._attn_implementation == "flex_attention"


def test_a_window_that_attention_is_not_told_of_limits_packs():
    torch.manual_seed(0)
    loader = tiny_loader("llama", vocab_size=VOCABULARY)
    model = loader.load_model()
    model.config.attention_chunk_size = 6
    policy = Policy(model, loader.tokenizer)
    assert str(policy.packability).startswith("sequences longer than 6 tokens are padded")
    assert GROUPS.lengths.min() <= 6 < GROUPS.lengths.max()
    assert len(policy.micro_batch_rows(GROUPS, 40)) > len(load("llama").micro_batch_rows(GROUPS, 40))
    assert_equals_reference(policy, GROUPS)


def test_mixtures_are_among_them():
    assert set(FUSED) > MIXTURES
