"""Sequences in one row, with shared prompts, against each by itself."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lightning_gft import GroupBatch, LoRA, Policy, PretrainedPolicy, Quantization, SamplingParams
from lightning_gft.lm import packable
from lightning_gft.lm.attention import RedirectionError
from lightning_gft.lm.capabilities import forget_capabilities
from lightning_gft.lm.micro_batch import Padded
from lightning_gft.lm.packable import longest_pack
from lightning_gft.lm.packing import Pack
from tests.conftest import quick
from tests.policy.passes import run as run_policy
from tests.policy.test_scoring import FUSED, MIXTURES, PLAIN, VOCABULARY, assert_equals_reference, gradients, load
from tests.reference import groups_with_shared_prompts
from tests.tiny import tiny_loader, tiny_policy

GROUPS = groups_with_shared_prompts()
ALIKE = groups_with_shared_prompts(vocabulary=2)
"""Responses too have their first tokens in common, and prompts those of other groups."""
WINDOWS: dict[str, dict[str, Any]] = {
    "mistral": {},
    "gemma2": {"head_dim": 16, "attn_logit_softcapping": 2.0},
    "gemma3_text": {"head_dim": 16},
    "cohere2": {},
    "gpt_oss": {"head_dim": 16, "num_local_experts": 4},
}
SPARSE: dict[str, Any] = {
    **{"index_topk": 4, "index_n_heads": 2, "index_head_dim": 16, "num_attention_heads": 4, "num_key_value_heads": 4},
    **{"q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 12},
    **{"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "n_group": 1, "topk_group": 1},
}


@pytest.mark.parametrize("name", quick([*FUSED, *PLAIN], "gpt2", "gemma2", "mixtral"))
@pytest.mark.filterwarnings("ignore:.*does not support.*")
def test_every_architecture_scores_as_if_sequences_were_apart(name: str):
    policy = load(name)
    assert policy.longest_pack is None
    for groups in (GROUPS, ALIKE):
        policy.zero_grad()
        assert_equals_reference(policy, groups)


@pytest.mark.parametrize("name", quick(WINDOWS, "mistral", "gpt_oss"))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_windows_shorter_than_sequences(name: str):
    policy = tiny_policy(name, vocab_size=VOCABULARY, sliding_window=4, **WINDOWS[name])
    if name == "gpt_oss":
        policy.model.set_experts_implementation("eager")
    assert policy.longest_pack is None
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
        return run_policy(policy, groups).logprobs


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
    limit, policy.longest_pack = policy.longest_pack, None if packed else 0
    output = run_policy(policy, GROUPS, lambda tokens: tokens.logprobs.exp() + 0.1)
    output.loss.backward()
    policy.longest_pack = limit
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
    for _ in range(3):
        policy.generate([[1, 2, 3], [4, 5]], 2, SamplingParams(max_new_tokens=4), 0)
    torch.testing.assert_close(run(policy, True), expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(run(policy, False), expected, rtol=1e-9, atol=1e-10)


def test_adapters_and_four_bits(tmp_path: Path):
    tiny_policy(vocab_size=VOCABULARY).save_pretrained(tmp_path)
    policy = PretrainedPolicy(str(tmp_path), lora=LoRA(r=4), quantization=Quantization(compute_dtype="float32")).load(
        keep_reference=True
    )
    assert policy.longest_pack is None
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
    assert policy.model.config._attn_implementation == "redirected_eager"
    [[response]] = policy.generate([prompt], 1, SamplingParams(max_new_tokens=8, temperature=0.0), 0)
    torch.manual_seed(0)
    model = loader.load_model().eval()
    ids = torch.tensor([prompt + response.token_ids])
    assert model(input_ids=ids).logits[0, len(prompt) - 1 : -1].argmax(dim=-1).tolist() == response.token_ids
    policy.save_pretrained(tmp_path)
    assert "redirected" not in (tmp_path / "config.json").read_text()


@pytest.mark.parametrize("name", ["stablelm", "nemotron"])
def test_models_that_do_not_hand_packs_on_are_padded(name: str, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, logger="lightning.pytorch"):
        policy = tiny_loader(name, vocab_size=VOCABULARY).load()
    assert "sequences are padded, each in a row of its own" in caplog.text
    assert "only 0 of its 2 layers are attention" in caplog.text
    assert policy.model.config._attn_implementation == "sdpa"
    assert_equals_reference(policy, GROUPS)


def test_an_attention_function_of_another_kind_is_left_alone():
    torch.manual_seed(0)
    model = tiny_loader().load_model()
    model.set_attn_implementation("flex_attention")
    found = longest_pack(model)
    assert found.value == 0
    assert found.reason == (
        "sequences are padded, each in a row of its own: "
        "attn_implementation='flex_attention' cannot be redirected to packs"
    )
    assert model.config._attn_implementation == "flex_attention"


def test_an_attention_function_exchanged_later_never_sees_a_row_as_one_sequence():
    policy = tiny_policy(vocab_size=VOCABULARY)
    expected = logprobs_of(policy, GROUPS)
    before = ALL_ATTENTION_FUNCTIONS["sdpa"]
    ALL_ATTENTION_FUNCTIONS.register("sdpa", sdpa_attention_forward)
    try:
        torch.testing.assert_close(logprobs_of(policy, GROUPS), expected, rtol=0, atol=0)
        policy.model.set_attn_implementation("flex_attention")
        with pytest.raises(RedirectionError, match=r"attn_implementation: expected .*, got 'flex_attention'"):
            logprobs_of(policy, GROUPS)
    finally:
        ALL_ATTENTION_FUNCTIONS.register("sdpa", before)


def test_a_window_that_attention_is_not_told_of_limits_packs():
    torch.manual_seed(0)
    loader = tiny_loader("llama", vocab_size=VOCABULARY)
    model = loader.load_model()
    model.config.attention_chunk_size = 6
    policy = Policy(model, loader.tokenizer)
    assert policy.longest_pack == 6
    assert longest_pack(model).reason.startswith("sequences longer than 6 tokens are padded")
    assert GROUPS.lengths.min() <= 6 < GROUPS.lengths.max()
    assert {type(batch) for batch in policy.micro_batches(GROUPS, 40)} == {Pack, Padded}
    assert_equals_reference(policy, GROUPS)


def test_layers_that_leak_are_noticed_in_half_precision_too(monkeypatch: pytest.MonkeyPatch):
    # Attention and a recurrence in each layer: the count of layers fits, and a difference would drown in rounding.
    settings = {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_expand": 1}
    model = tiny_loader("falcon_h1", vocab_size=VOCABULARY, **settings).load_model().to(torch.bfloat16)
    model.model.final_layernorm.weight.data[3] = 30
    monkeypatch.setattr(packable, "_LAYERS", {"hybrid"})
    assert "would mix the sequences of a pack" in longest_pack(model).reason


@pytest.mark.parametrize("name", ["deepseek_v32", "glm_moe_dsa"])
def test_sparse_attention_stays_what_it_is(name: str):
    torch.manual_seed(0)
    loader = tiny_loader(name, vocab_size=VOCABULARY, **SPARSE)
    model = loader.load_model().eval()
    ids = torch.arange(24).unsqueeze(0)
    expected = model(input_ids=ids).logits
    policy = Policy(model, loader.tokenizer)
    assert policy.longest_pack == 0
    torch.testing.assert_close(policy.model(input_ids=ids).logits, expected, rtol=0, atol=1e-5)


def test_what_a_few_tokens_would_not_show_is_read_from_the_configuration():
    model = tiny_loader("llama", vocab_size=VOCABULARY).load_model()
    model.config.attn_temperature_tuning = True
    assert "attn_temperature_tuning" in longest_pack(model).reason
    model.config.attn_temperature_tuning = False
    forget_capabilities(model)
    model.config.layer_types = ["full_attention", "compressed_attention"]
    assert "layers of type compressed_attention" in longest_pack(model).reason


def test_mixtures_are_among_them():
    assert set(FUSED) > MIXTURES
