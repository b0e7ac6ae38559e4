"""Names and patterns of modules, refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightning_gft import LoRA, Policy, PretrainedPolicy
from tests.tiny import tiny_loader, tiny_policy


def refused(**settings: object) -> str:
    with pytest.raises(ValueError, match=r"lora") as raised:
        Policy(tiny_loader().load_model(), tiny_loader().tokenizer, lora=LoRA(**settings))
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_stored_pattern_that_is_none_is_named(tmp_path: Path):
    tiny_policy().save_pretrained(tmp_path)
    PretrainedPolicy(str(tmp_path), lora=LoRA(r=2)).load().save_pretrained(tmp_path / "adapter")
    config = tmp_path / "adapter/adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "target_modules": "*.q_proj"}))
    with pytest.raises(ValueError, match=r"`lora.target_modules`: expected a regular expression, got '\*\.q_proj'"):
        PretrainedPolicy(str(tmp_path), lora=LoRA(adapter_path=str(tmp_path / "adapter"))).load()


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["qproj"], "expected modules of Qwen2ForCausalLM, got 'qproj'; did you mean q_proj? Use some of"),
        (r".*\.q_prj", "which matches none of Qwen2ForCausalLM; did you mean q_proj?"),
        (
            ["self_attn"],
            "linear layers or embeddings, got model.layers.0.self_attn, a Qwen2Attention (and 1 more)",
        ),
        (r".*layernorm", "got model.layers.0.input_layernorm, a Qwen2RMSNorm (and 3 more); those that take an adapter"),
    ],
)
def test_what_does_not_fit_is_named(targets: str | list[str], message: str):
    assert message in refused(target_modules=targets)


def test_an_adapter_and_a_copy_of_one_module_exclude_each_other():
    message = refused(target_modules=["q_proj", "embed_tokens"], modules_to_save=["embed_tokens"])
    assert "target_modules or in modules_to_save, got model.embed_tokens in both" in message


@pytest.mark.parametrize("field", [{"r": 0}, {"r": -1}, {"alpha": float("nan")}, {"alpha": "x"}, {"dropout": 2}])
def test_numbers(field: dict):
    with pytest.raises((ValueError, TypeError), match=rf"lora\.{next(iter(field))}"):
        LoRA(**field)
