"""Writing adapters, going on with them, and refusing what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from lightning_gft import LoRA, Policy, PretrainedPolicy, extras
from tests.conftest import quick
from tests.policy.passes import run
from tests.policy.test_adapters import VARIANTS, groups, scored, stir, trainable
from tests.tiny import tiny_loader, tiny_policy


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("variant", quick(VARIANTS, "dora", "head saved"))
def test_adapter_round_trip(variant: str, tied: bool, tmp_path: Path):
    tiny_policy(vocab_size=64, tie_word_embeddings=tied).save_pretrained(tmp_path)
    policy = stir(PretrainedPolicy(str(tmp_path), lora=LoRA(r=4, **VARIANTS[variant])).load())
    policy.save_pretrained(tmp_path / "adapter")
    expected = scored(policy)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path), tmp_path / "adapter")
    torch.testing.assert_close(plain.eval()(groups().input_ids).logits, policy.model.eval()(groups().input_ids).logits)

    loader = PretrainedPolicy(str(tmp_path), lora=LoRA(adapter_path=str(tmp_path / "adapter")))
    later = loader.load(keep_reference=True)
    torch.testing.assert_close(scored(later), expected)
    names = trainable(later)
    assert names == trainable(policy)
    assert not any("reference" in name for name in names)
    stir(later)
    after = scored(later)
    assert (after - expected).abs().max() > 0.01
    with later.reference():
        torch.testing.assert_close(scored(later), expected)
    torch.testing.assert_close(scored(later), after, rtol=0, atol=0)
    assert trainable(later) == names
    later.save_pretrained(tmp_path / "later")
    assert {path.name for path in (tmp_path / "later").iterdir()} >= {"adapter_model.safetensors", "tokenizer.json"}
    assert not (tmp_path / "later" / "reference").exists()


def test_settings_that_are_repeated_are_none_that_differ(tmp_path: Path):
    tiny_policy().save_pretrained(tmp_path)
    settings = {"r": 4, "alpha": 8, "target_modules": ["q_proj", "v_proj"], "modules_to_save": ["lm_head"]}
    PretrainedPolicy(str(tmp_path), lora=LoRA(**settings)).load().save_pretrained(tmp_path / "adapter")
    repeated = {**settings, "alpha": 8.0, "target_modules": ["v_proj", "q_proj"]}
    PretrainedPolicy(str(tmp_path), lora=LoRA(adapter_path=str(tmp_path / "adapter"), **repeated)).load()


def test_written_data_type(tmp_path: Path):
    tiny_policy(vocab_size=64).save_pretrained(tmp_path)
    policy = stir(PretrainedPolicy(str(tmp_path), lora=LoRA(r=4)).load())
    policy.save_pretrained(tmp_path / "adapter", "bfloat16")
    later = PretrainedPolicy(str(tmp_path), lora=LoRA(adapter_path=str(tmp_path / "adapter"))).load()
    torch.testing.assert_close(scored(later), scored(policy), rtol=0.1, atol=0.05)
    assert (tmp_path / "adapter/adapter_model.safetensors").stat().st_size < 2.5 * sum(
        parameter.numel() for parameter in policy.parameters() if parameter.requires_grad
    ) + 10_000


@pytest.mark.parametrize("keep_reference", [True, False])
def test_going_on_leaves_the_model_in_training(keep_reference: bool, tmp_path: Path):
    tiny_policy(vocab_size=64).save_pretrained(tmp_path)
    PretrainedPolicy(str(tmp_path), lora=LoRA(r=4)).load().save_pretrained(tmp_path / "adapter")
    lora = LoRA(adapter_path=str(tmp_path / "adapter"))
    policy = PretrainedPolicy(str(tmp_path), gradient_checkpointing=True, lora=lora).load(keep_reference)
    assert all(module.training for module in policy.modules())
    calls = []
    policy.model.base_model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    run(policy, groups()).loss.backward()
    assert len(calls) == 2  # computed again in backward


def test_going_on_without_a_reference(tmp_path: Path):
    tiny_policy(vocab_size=64).save_pretrained(tmp_path)
    PretrainedPolicy(str(tmp_path), lora=LoRA(r=4)).load().save_pretrained(tmp_path / "adapter")
    policy = PretrainedPolicy(str(tmp_path), lora=LoRA(adapter_path=str(tmp_path / "adapter"))).load()
    with pytest.raises(RuntimeError, match="`keep_reference`: expected True"), policy.reference():
        pass


@pytest.mark.parametrize(
    ("wanted", "config", "message"),
    [
        ({"r": 8}, {}, r"expected r=4 as in the adapter, got 8; leave lora\.r out"),
        ({"target_modules": ["q_proj"]}, {}, r"expected target_modules="),
        ({}, {"hidden_size": 16}, r"size mismatch"),
        ({}, {"num_hidden_layers": 1}, r"expected weights that the model has a module for, got 14 others"),
    ],
)
def test_adapter_that_does_not_fit(wanted: dict, config: dict, message: str, tmp_path: Path):
    tiny_policy(vocab_size=64).save_pretrained(tmp_path / "first")
    tiny_policy(vocab_size=64, **config).save_pretrained(tmp_path / "second")
    PretrainedPolicy(str(tmp_path / "first"), lora=LoRA(r=4)).load().save_pretrained(tmp_path / "adapter")
    lora = LoRA(adapter_path=str(tmp_path / "adapter"), **wanted)
    with pytest.raises(ValueError, match=rf"`lora\.adapter_path` .*: expected .* can be loaded .*{message}") as error:
        PretrainedPolicy(str(tmp_path / "second"), lora=lora).load()
    assert "\n" not in str(error.value)


def test_adapter_that_lacks_weights(tmp_path: Path):
    tiny_policy(vocab_size=64).save_pretrained(tmp_path)
    PretrainedPolicy(str(tmp_path), lora=LoRA(r=4)).load().save_pretrained(tmp_path / "adapter")
    path = tmp_path / "adapter/adapter_model.safetensors"
    weights = load_file(path)
    del weights[sorted(weights)[0]]
    save_file(weights, path)
    with pytest.raises(ValueError, match=r"`lora\.adapter_path` .* expected weights .*, got none for 1, .*lora_A"):
        PretrainedPolicy(str(tmp_path), lora=LoRA(adapter_path=str(tmp_path / "adapter"))).load()


def test_adapter_that_is_not_there(tmp_path: Path):
    loader = tiny_loader()
    loader.lora = LoRA(adapter_path=str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"`lora\.adapter_path` \('.*nowhere'\): .*there is no such folder"):
        loader.tokenizer  # noqa: B018 (told before weights are loaded)


def test_adapter_whose_files_are_incomplete(tmp_path: Path):
    tiny_policy().save_pretrained(tmp_path)
    PretrainedPolicy(str(tmp_path), lora=LoRA(r=2)).load().save_pretrained(tmp_path / "adapter")
    loader = PretrainedPolicy(str(tmp_path), lora=LoRA(adapter_path=str(tmp_path / "adapter")))
    (tmp_path / "adapter/adapter_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"adapter/adapter_config\.json, damaged"):
        loader.load()
    (tmp_path / "adapter/adapter_model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"holds no adapter_model\.safetensors"):
        loader.load()
    (tmp_path / "adapter/adapter_config.json").unlink()
    with pytest.raises(ValueError, match=r"expected an adapter, got a folder that holds no adapter_config\.json"):
        loader.load()


def test_adapter_of_another_model_is_told_and_exported_as_this_ones(tmp_path: Path, recwarn: pytest.WarningsRecorder):
    for name in ("first", "second", "moved/first"):
        tiny_policy().save_pretrained(tmp_path / name)
    PretrainedPolicy(str(tmp_path / "first"), lora=LoRA(r=2)).load().save_pretrained(tmp_path / "adapter")
    lora = LoRA(adapter_path=str(tmp_path / "adapter"))
    PretrainedPolicy(str(tmp_path / "moved/first"), lora=lora).load()
    assert not [warning for warning in recwarn if "base_model_name_or_path" in str(warning.message)]
    with pytest.warns(UserWarning, match=r"was trained with the model '.*/first', and model_name_or_path='.*/second'"):
        policy = PretrainedPolicy(str(tmp_path / "second"), lora=lora).load()
    policy.save_pretrained(tmp_path / "later")
    config = json.loads((tmp_path / "later/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tmp_path / "second")


def test_the_base_is_named_so_that_it_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tiny_policy().save_pretrained(tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    PretrainedPolicy("base", lora=LoRA(r=2)).load().save_pretrained("adapter")
    config = json.loads(Path("adapter/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tmp_path / "base")


# What is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"r": 0}, r"`lora\.r`: expected a whole number of at least 1, got 0"),
        ({"alpha": 0}, r"`lora\.alpha`: expected a number above 0, got 0"),
        ({"dropout": 1.0}, r"`lora\.dropout`: expected a number of at least 0 and below 1, got 1\.0"),
        (
            {"target_modules": ["q_proj", "qproj"]},
            r"`lora\.target_modules`: expected modules of Qwen2ForCausalLM, got 'qproj'",
        ),
        (
            {"target_modules": "q_proj"},
            r"got 'q_proj', which matches none of Qwen2ForCausalLM; did you mean q_proj\?",
        ),
        (
            {"target_modules": "(q_proj"},
            r"`lora\.target_modules`: expected a regular expression, got '\(q_proj'",
        ),
        ({"target_modules": []}, r"`lora\.target_modules`: expected at least one module, got \[\]"),
        (
            {"modules_to_save": ["head"]},
            r"`lora\.modules_to_save`: expected modules of Qwen2ForC.*, got 'head'; did you mean lm_head\? Use .*lm",
        ),
    ],
)
def test_bad_settings(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        Policy(tiny_loader().load_model(), tiny_loader().tokenizer, lora=LoRA(**settings))


def test_rank_that_the_weights_cannot_have():
    with pytest.warns(UserWarning, match=r"lora\.r=40 exceeds the largest possible rank of 14 of 14 .*, 32 for "):
        Policy(tiny_loader().load_model(), tiny_loader().tokenizer, lora=LoRA(r=40))


def test_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=r"lora needs peft.*pip install 'lightning-gft\[lora\]'"):
        LoRA()
