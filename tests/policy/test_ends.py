"""Both kinds of end stop a response, and what is exported names them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from lightning_gft import LoRA, Policy, PretrainedPolicy, SamplingParams
from tests.tiny import tiny_loader, tiny_policy

TURN = "{% for m in messages %}{{ m.content }}=\n{% endfor %}"
"""Ends a turn with a character, which a test makes a token of its own."""


def _policy(tmp_path: Path, template: str = TURN, **options: object) -> PretrainedPolicy:
    policy = tiny_policy()
    policy.tokenizer.chat_template = template
    policy.tokenizer.add_tokens("=", special_tokens=True)
    policy.save_pretrained(tmp_path / "base")
    return PretrainedPolicy(str(tmp_path / "base"), **options)  # type: ignore[arg-type]


def test_a_template_s_end_of_turn_stops_generation(tmp_path: Path) -> None:
    loader = _policy(tmp_path)
    turn = loader.tokenizer.convert_tokens_to_ids("=")
    policy = loader.load()
    assert set(policy.end.eos_token_ids) == {policy.tokenizer.eos_token_id, turn}
    groups = policy.generate([policy.tokenizer.encode("1+1")], 64, SamplingParams(max_new_tokens=32), 0)
    ended = [response.token_ids for response in groups[0] if response.finished]
    assert {ids[-1] for ids in ended} == set(policy.end.eos_token_ids)
    assert not any(set(ids[:-1]) & set(policy.end.eos_token_ids) for ids in ended)


@pytest.mark.parametrize("lora", [None, LoRA(r=2)])
def test_an_export_names_every_end(tmp_path: Path, lora: LoRA | None) -> None:
    policy = _policy(tmp_path, lora=lora).load()
    policy.model.generation_config.eos_token_id = 0
    policy.save_pretrained(tmp_path / "out")
    expected = sorted({0, *policy.end.eos_token_ids})
    assert len(expected) == 3
    assert GenerationConfig.from_pretrained(tmp_path / "out").eos_token_id == expected
    if lora is None:
        assert json.loads((tmp_path / "out" / "config.json").read_text())["eos_token_id"] == expected
        assert PretrainedPolicy(str(tmp_path / "out")).load().end.eos_token_ids == tuple(expected)
    assert policy.model.generation_config.eos_token_id == 0  # only what is written names them


def test_one_end_is_a_number(tmp_path: Path) -> None:
    policy = tiny_policy()
    policy.save_pretrained(tmp_path)
    assert GenerationConfig.from_pretrained(tmp_path).eos_token_id == policy.tokenizer.eos_token_id


def test_a_template_that_takes_no_question_adds_no_end(tmp_path: Path) -> None:
    policy = _policy(tmp_path, "{{ raise_exception('never') }}").load()
    assert policy.end.eos_token_ids == (policy.tokenizer.eos_token_id,)


def test_a_template_that_does_not_end_is_refused_at_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_gft.chat.template._SECONDS", 0.2)
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(ValueError, match="the chat template did not end"):
        _policy(tmp_path, loop).load()


def test_a_loader_from_nothing_has_its_own_end() -> None:
    policy = tiny_loader().load()
    assert policy.end.eos_token_ids == (policy.tokenizer.eos_token_id,)


def test_a_model_that_sees_and_reads_names_ends_in_its_text_config(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = AutoConfig.for_model(
        "gemma3",
        text_config={**sizes, "vocab_size": 48, "num_key_value_heads": 1, "head_dim": 8},
        vision_config={**sizes, "image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
        image_token_index=47,
        boi_token_index=46,
        eoi_token_index=45,
    )
    assert not hasattr(config, "eos_token_id")
    policy = Policy(AutoModelForCausalLM.from_config(config), tiny_loader().tokenizer)
    before = config.text_config.eos_token_id
    policy.save_pretrained(tmp_path)
    assert config.text_config.eos_token_id == before
    assert not hasattr(config, "eos_token_id")
    expected = list(policy.end.eos_token_ids)
    ends = GenerationConfig.from_pretrained(tmp_path).eos_token_id
    assert (ends if isinstance(ends, list) else [ends]) == expected
    assert json.loads((tmp_path / "config.json").read_text())["text_config"]["eos_token_id"] == ends


@pytest.mark.parametrize("lora", [None, LoRA(r=2)], ids=["full", "lora"])
@pytest.mark.parametrize("also", [{}, {"length_penalty": 2.0}], ids=["sampling", "more"])
def test_an_invalid_generation_config_is_no_obstacle(tmp_path: Path, lora: LoRA | None, also: dict) -> None:
    policy = _policy(tmp_path, lora=lora).load()
    stored = GenerationConfig(temperature=0.6, top_p=0.9, pad_token_id=3, eos_token_id=0, **also)
    with pytest.raises(ValueError, match="invalid"):
        stored.save_pretrained(tmp_path / "no")
    policy.model.generation_config = stored
    if also:
        with pytest.warns(UserWarning, match=r"generation_config\.json is not written"):
            policy.save_pretrained(tmp_path / "out")
    else:
        policy.save_pretrained(tmp_path / "out")
    written = GenerationConfig.from_pretrained(tmp_path / "out")
    assert written.eos_token_id == sorted({0, *policy.end.eos_token_ids})
    assert written.pad_token_id == 3
    assert (written.temperature, written.do_sample) == ((None, None) if also else (0.6, True))
