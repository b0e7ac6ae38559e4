"""Adapters train, the model does not, and without them it is the reference."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_gft import GroupBatch, LoRA, Policy, PretrainedPolicy, SamplingParams
from lightning_gft.functional.head import linear_logprob
from tests.conftest import quick
from tests.policy.passes import run
from tests.policy.test_scoring import assert_equals_reference, load
from tests.reference import random_groups
from tests.tiny import tiny_loader, tiny_policy

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "names": {"target_modules": ["q_proj", "mlp.up_proj"]},
    "pattern": {"target_modules": r".*layers\.1\..*_proj"},
    "head saved": {"modules_to_save": ["lm_head"]},
    "embeddings saved": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "norms saved": {"modules_to_save": ["norm", "input_layernorm"]},
}

ARCHITECTURES = ["gpt2", "gemma2", "granite", "gpt_neox", "mixtral", "qwen3_moe"]


def adapted(lora: LoRA | None = None, seed: int = 0, **config: Any) -> Policy:
    """Return a policy whose adapters do something: fresh ones give 0."""
    loader = tiny_loader(vocab_size=64, **config)
    loader.lora = lora or LoRA(r=4)
    torch.manual_seed(seed)
    return stir(loader.load())


def stir(policy: Policy) -> Policy:
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return policy


def groups(dtype: torch.dtype = torch.float32) -> GroupBatch:
    return random_groups(dtype=dtype)[0]


def scored(policy: Policy) -> Tensor:
    return policy.token_logprobs(groups(), 1000)[0]


def trainable(policy: Policy) -> set[str]:
    return {name for name, parameter in policy.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("variant", quick(VARIANTS, "dora", "embeddings saved"))
def test_fused_pass_equals_own_logits(variant: str, tied: bool):
    policy = adapted(LoRA(r=4, **VARIANTS[variant]), tie_word_embeddings=tied)
    assert policy.head is not None
    assert_equals_reference(policy)


@pytest.mark.filterwarnings("ignore:.*_pattern keys did not match.*")  # peft's, about experts
@pytest.mark.parametrize(
    "name", quick(["gpt2", "gemma2", "granite", "gpt_neox", "mixtral", "qwen3_moe"], "gpt2", "qwen3_moe")
)
def test_other_architectures(name: str):
    model, tokenizer = load(name).model, tiny_loader().tokenizer
    plain = Policy(model, tokenizer)
    expected = scored(plain)
    policy = stir(Policy(model, tokenizer, lora=LoRA(r=4)))
    assert policy.head is not None
    with policy.reference():
        torch.testing.assert_close(scored(policy), expected)
    assert (scored(policy) - expected).abs().max() > 0.01
    assert_equals_reference(policy)


@pytest.mark.parametrize("tied", [True, False])
def test_adapter_on_the_head_takes_the_plain_path_and_says_so(tied: bool, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, logger="lightning.pytorch"):
        policy = adapted(LoRA(r=4, target_modules=["q_proj", "lm_head"]), tie_word_embeddings=tied)
    assert "has a head that the fused loss does not support" in caplog.text
    assert policy.head is None
    assert_equals_reference(policy)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("variant", quick(VARIANTS, "dora", "embeddings saved"))
def test_reference_is_the_policy_as_loaded(variant: str, tied: bool):
    policy = adapted(LoRA(r=4, **VARIANTS[variant]), tie_word_embeddings=tied)
    expected = scored(tiny_policy(vocab_size=64, tie_word_embeddings=tied))
    before, training = scored(policy), trainable(policy)
    with policy.reference():
        torch.testing.assert_close(scored(policy), expected)
    assert (before - expected).abs().max() > 0.01
    torch.testing.assert_close(scored(policy), before, rtol=0, atol=0)
    assert trainable(policy) == training


def test_reference_costs_no_copy():
    loader = tiny_loader()
    loader.lora = LoRA(r=2)
    kept, not_kept = loader.load(keep_reference=True), loader.load()
    assert kept.reference_model is None
    assert sum(p.numel() for p in kept.parameters()) == sum(p.numel() for p in not_kept.parameters())


def test_an_error_within_the_reference_leaves_it():
    policy = adapted()
    before = scored(policy)
    with pytest.raises(KeyError), policy.reference():
        raise KeyError
    torch.testing.assert_close(scored(policy), before, rtol=0, atol=0)


@pytest.mark.parametrize("tied", [True, False])
def test_tied_embeddings_stay_tied(tied: bool):
    model = adapted(LoRA(r=2, modules_to_save=["embed_tokens"]), tie_word_embeddings=tied).model
    first, last = model.get_input_embeddings(), model.get_output_embeddings()
    assert (first.modules_to_save["default"].weight is last.weight) == tied


def test_one_of_two_tied_embeddings_is_refused():
    with pytest.raises(ValueError, match=r"`lora`: expected both or none of the tied embeddings of GPT2LMHeadModel"):
        Policy(tiny_loader("gpt2").load_model(), tiny_loader().tokenizer, lora=LoRA(r=2, modules_to_save=["wte"]))


def test_only_adapters_train():
    policy = adapted()
    run(policy, groups()).loss.backward()
    assert all("lora_" in name for name in trainable(policy))
    for parameter in policy.parameters():
        assert (parameter.grad is not None) == parameter.requires_grad
        assert parameter.grad is None or parameter.grad.abs().max() > 0


def test_frozen_head_gets_no_gradient_product(monkeypatch: pytest.MonkeyPatch):
    products: list[torch.Size] = []
    monkeypatch.setattr(linear_logprob, "add_weight_gradient", lambda total, *_: products.append(total.shape))
    for lora in (LoRA(r=2, target_modules=["q_proj"]), None):
        loader = tiny_loader(vocab_size=64, tie_word_embeddings=False)
        loader.lora = lora
        run(loader.load(), groups())
    assert products == [(64, 32)]  # of the second alone


def test_gradients_flow_through_gradient_checkpointing(tmp_path: Path):
    tiny_policy(vocab_size=64).save_pretrained(tmp_path)
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        policy = stir(PretrainedPolicy(str(tmp_path), gradient_checkpointing=checkpointing, lora=LoRA(r=4)).load())
        run(policy, groups()).loss.backward()
        gradients.append({name: p.grad for name, p in policy.named_parameters() if p.requires_grad})
    torch.testing.assert_close(gradients[1], gradients[0])
    assert all(gradient.abs().max() > 0 for gradient in gradients[0].values())


@pytest.mark.parametrize("variant", ["plain", "dora", "embeddings saved"])
def test_rollouts_are_the_adapted_policys(variant: str):
    policy = adapted(LoRA(r=4, dropout=0.5, **VARIANTS[variant]))
    policy.train()
    prompt = [5, 6, 7]
    [responses] = policy.generate([prompt], 4, SamplingParams(max_new_tokens=8), seed=0)
    assert policy.model.training
    for response in responses:
        ids = torch.tensor([prompt + response.token_ids])
        with torch.no_grad():
            logprobs = copy.deepcopy(policy).eval().model(ids).logits.log_softmax(dim=-1)[0, len(prompt) - 1 : -1]
        own = logprobs.gather(1, torch.tensor(response.token_ids).unsqueeze(1)).squeeze(1)
        torch.testing.assert_close(torch.tensor(response.logprobs), own, rtol=0, atol=1e-4)


def test_adapters_of_a_half_precision_model_are_in_single(tmp_path: Path):
    tiny_policy(vocab_size=64).save_pretrained(tmp_path)
    policy = PretrainedPolicy(str(tmp_path), torch_dtype="bfloat16", lora=LoRA(r=4)).load()
    run(policy, groups()).loss.backward()
    for parameter in policy.parameters():
        assert parameter.dtype == (torch.float32 if parameter.requires_grad else torch.bfloat16)


def test_copy_of_a_head_computes_as_the_head(tmp_path: Path):
    tiny_policy(vocab_size=64).save_pretrained(tmp_path)
    lora = LoRA(r=4, modules_to_save=["lm_head"])
    policy = PretrainedPolicy(str(tmp_path), torch_dtype="bfloat16", fp32_head=True, lora=lora).load()
    assert policy.model(torch.tensor([[1, 2]])).logits.dtype == torch.float32
