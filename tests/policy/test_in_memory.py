"""A model and a tokenizer in memory as the policy."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import AdamW
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel

from lightning_gft import Evaluation, LoRA, ModelPolicy, ScratchPolicy
from lightning_gft.callbacks import HuggingFaceExport
from tests.module.runs import ROWS, Rows, fit, make_module, make_trainer, weights
from tests.tiny import tiny_policy

IDS = torch.arange(6)[None]
LORA = LoRA(r=2, target_modules=["q_proj", "embed_tokens"])


def given() -> tuple[PreTrainedModel, Any]:
    policy = tiny_policy(tie_word_embeddings=True)
    return policy.model, policy.tokenizer


def logits(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        return copy.deepcopy(model).eval()(IDS).logits


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_each_load_begins_anew_and_leaves_the_model_given_as_it_is(lora: LoRA | None):
    model, tokenizer = given()
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    frozen = [weight.requires_grad for weight in model.parameters()]
    loader = ModelPolicy(model, tokenizer, lora=lora)
    first = loader.load(keep_reference=True)
    shared = {weight.data_ptr() for weight in first.model.parameters()} & {w.data_ptr() for w in model.parameters()}
    assert bool(shared) == (lora is not None)
    with torch.no_grad():
        for weight in first.parameters():
            if weight.requires_grad:
                weight.add_(0.1)
    first.double()
    torch.testing.assert_close(dict(model.named_parameters()), before, rtol=0, atol=0)
    assert [weight.requires_grad for weight in model.parameters()] == frozen
    torch.testing.assert_close(logits(loader.load().model), logits(model))


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_it_trains_resumes_validates_and_is_exported(lora: LoRA | None, tmp_path: Path):
    model, tokenizer = given()

    def module() -> Any:
        evaluation = Evaluation(num_samples=2, max_new_tokens=4)
        loader = ModelPolicy(model, tokenizer, lora=lora)
        return make_module(policy=loader, optimizer=lambda p: AdamW(p, lr=0.01), evaluation=evaluation)

    def data() -> Rows:
        return Rows(ROWS, ROWS, batch_size=2)

    whole, first, second = module(), module(), module()
    path = tmp_path / "exported"
    fit(whole, data(), max_epochs=2, callbacks=[HuggingFaceExport(str(path), merge=lora is not None)])
    fit(first, data(), max_epochs=1).save_checkpoint(tmp_path / "first.ckpt")
    fit(second, data(), max_epochs=2, ckpt_path=str(tmp_path / "first.ckpt"))
    torch.testing.assert_close(weights(second), weights(whole), rtol=0, atol=0)
    exported = AutoModelForCausalLM.from_pretrained(path)
    torch.testing.assert_close(logits(exported), logits(whole.policy.model), rtol=0, atol=1e-4)
    assert (logits(exported) - logits(model)).abs().max() > 0.01
    assert make_trainer().validate(second, datamodule=data())[0]["val/mean@2"] >= 0
    assert AutoTokenizer.from_pretrained(path).get_vocab() == second.policy.tokenizer.get_vocab()


def test_it_trains_as_a_loader_of_the_same_model_does():
    scratch = ScratchPolicy("0123456789+-=ab", config={"hidden_size": 32, "num_hidden_layers": 1})
    torch.manual_seed(0)
    start = scratch.load()
    fit(loaded := make_module(policy=scratch))
    fit(in_memory := make_module(policy=ModelPolicy(start.model, start.tokenizer)))
    torch.testing.assert_close(weights(in_memory), weights(loaded), rtol=0, atol=0)


def test_a_half_precision_model_is_merged_in_single():
    model, tokenizer = given()
    loader = ModelPolicy(model.bfloat16(), tokenizer, lora=LoRA(r=2))
    policy = loader.load()
    assert loader.merge(policy).dtype == torch.float32
    assert policy.model.dtype == model.dtype == torch.bfloat16


def test_quantised_models(tmp_path: Path):
    tiny_policy(hidden_size=64).save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path, quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32)
    )
    tokenizer = tiny_policy().tokenizer
    with pytest.raises(ValueError, match=r"^`model`: expected weights .*, got quantised ones; train adapters"):
        ModelPolicy(model, tokenizer)
    loader = ModelPolicy(model, tokenizer, lora=LoRA(r=2))
    torch.testing.assert_close(logits(loader.load().model), model.eval()(IDS).logits)
    with pytest.raises(ValueError, match=r"^`merge`: expected a model in full precision, got one whose weights are qu"):
        fit(make_module(policy=loader), callbacks=[HuggingFaceExport(str(tmp_path / "new"), merge=True)])


def test_what_is_no_policy_is_refused():
    model, tokenizer = given()
    with pytest.raises(TypeError, match=r"`model`: expected a PreTrainedModel"):
        ModelPolicy("Qwen/Qwen2.5-0.5B", tokenizer)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"`tokenizer`: expected a PreTrainedTokenizerBase"):
        ModelPolicy(model, None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^`model`: expected a causal language model, .* got Qwen2Model"):
        ModelPolicy(model.model, tokenizer)
    with pytest.raises(ValueError, match=r"^`model`: expected a model without adapters"):
        ModelPolicy(ModelPolicy(model, tokenizer, lora=LoRA(r=2)).load().model, tokenizer)
    with pytest.raises(ValueError, match=r"the tokenizer: expected at most the 5 tokens that the model embeds, got 33"):
        ModelPolicy(ScratchPolicy("ab").load_model(), tokenizer).load()
