"""Adapters on embeddings that share a weight: merged, written and resumed, they are the policy that was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM

from lightning_gft import LoRA, Policy, PretrainedPolicy, Quantization
from lightning_gft.policy.adapters import Adapters
from tests.conftest import quick
from tests.policy.test_adapters import stir
from tests.policy.test_scoring import assert_equals_reference
from tests.tiny import tiny_policy

IDS = torch.arange(12).view(2, 6)
VARIANTS: dict[str, dict[str, Any]] = {
    "input": {"target_modules": ["q_proj", "embed_tokens"]},
    "output": {"target_modules": ["q_proj", "lm_head"]},
    "both": {"target_modules": ["embed_tokens", "lm_head"]},
    "pattern": {"target_modules": r".*(embed_tokens|q_proj)"},
    "dora": {"target_modules": ["embed_tokens", "lm_head"], "use_dora": True},
    "rslora": {"target_modules": ["embed_tokens"], "use_rslora": True},
    "input, head saved": {"target_modules": ["embed_tokens"], "modules_to_save": ["lm_head"]},
    "all-linear": {},
    "saved": {"modules_to_save": ["embed_tokens"]},
}
STAY_TIED = {"all-linear", "saved"}


def logits(policy_or_model: Any) -> Tensor:
    model = (policy_or_model.model if isinstance(policy_or_model, Policy) else policy_or_model).eval()
    with torch.no_grad():
        return model(IDS).logits


@pytest.mark.parametrize("variant", quick(VARIANTS, "both", "input, head saved", "all-linear"))
def test_merged_equals_live(variant: str, tmp_path: Path):
    tiny_policy(vocab_size=64, tie_word_embeddings=True).save_pretrained(tmp_path / "base")
    loader = PretrainedPolicy(str(tmp_path / "base"), lora=LoRA(r=2, **VARIANTS[variant]))
    policy = stir(loader.load())
    expected, base = logits(policy), logits(tiny_policy(vocab_size=64, tie_word_embeddings=True))
    assert (expected - base).abs().max() > 0.01
    policy.save_pretrained(tmp_path / "merged", merged=loader.merge(policy))
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(merged), expected, rtol=0, atol=1e-4)
    assert merged.config.tie_word_embeddings == (variant in STAY_TIED)
    torch.testing.assert_close(logits(policy), expected, rtol=0, atol=0)  # which merging leaves alone
    assert policy.model.config.tie_word_embeddings

    policy.save_pretrained(tmp_path / "adapter")
    again = PretrainedPolicy(str(tmp_path / "base"), lora=LoRA(adapter_path=str(tmp_path / "adapter")))
    resumed = again.load(keep_reference=True)
    torch.testing.assert_close(logits(resumed), expected)
    torch.testing.assert_close(logits(again.merge(stir(resumed))), logits(resumed), rtol=0, atol=1e-4)
    with resumed.reference():
        torch.testing.assert_close(logits(resumed), expected)


@pytest.mark.parametrize("variant", ["input", "both", "input, head saved"])
def test_fused_head_sees_the_weights_of_the_models_own_logits(variant: str, tmp_path: Path):
    tiny_policy(vocab_size=64, tie_word_embeddings=True).save_pretrained(tmp_path)
    policy = stir(PretrainedPolicy(str(tmp_path), fp32_head=True, lora=LoRA(r=2, **VARIANTS[variant])).load())
    assert (policy.head is None) == (variant == "both")
    assert_equals_reference(policy)


def test_a_base_of_4_bits_is_merged_in_full_precision(tmp_path: Path):
    tiny_policy(vocab_size=64, hidden_size=64, tie_word_embeddings=True).save_pretrained(tmp_path / "base")
    lora = LoRA(r=2, **VARIANTS["input"])
    loader = PretrainedPolicy(str(tmp_path / "base"), lora=lora, quantization=Quantization())
    policy = stir(loader.load())
    policy.adapters.save_pretrained(tmp_path / "adapter")
    whole = PretrainedPolicy(str(tmp_path / "base")).load_model()
    Adapters(whole, LoRA(adapter_path=str(tmp_path / "adapter")))
    torch.testing.assert_close(logits(loader.merge(policy)), logits(whole), rtol=0, atol=1e-4)


def test_every_trained_weight_is_one_of_its_own():
    policy = tiny_policy(tie_word_embeddings=True)
    policy = Policy(policy.model, policy.tokenizer, lora=LoRA(r=2, target_modules=["embed_tokens", "lm_head"]))
    trained = [weight for weight in policy.parameters() if weight.requires_grad]
    assert len(trained) == len({weight.data_ptr() for weight in trained}) == 4


def test_an_adapter_that_peft_has_tied_goes_on_as_two(tmp_path: Path):
    tiny_policy(vocab_size=64, tie_word_embeddings=True).save_pretrained(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    config = LoraConfig(r=2, target_modules=["embed_tokens", "q_proj"], ensure_weight_tying=True)
    tied = get_peft_model(model, config)
    with torch.no_grad():
        for name, weight in tied.named_parameters():
            if "lora_" in name and "lm_head" not in name:  # which are views of those of the input embedding
                weight.add_(0.1 * torch.randn_like(weight))
    expected = logits(tied)
    tied.save_pretrained(tmp_path / "adapter")
    loader = PretrainedPolicy(str(tmp_path / "base"), lora=LoRA(adapter_path=str(tmp_path / "adapter")))
    policy = loader.load(keep_reference=True)
    torch.testing.assert_close(logits(policy), expected)
    torch.testing.assert_close(logits(loader.merge(policy)), expected, rtol=0, atol=1e-4)
