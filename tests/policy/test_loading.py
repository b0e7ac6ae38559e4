"""From a configuration or a folder to a policy, and back to a folder."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from transformers import AutoModelForCausalLM, AutoTokenizer, T5Config, T5ForConditionalGeneration

from lightning_gft import Policy, PretrainedPolicy, ScratchPolicy
from lightning_gft.policy.tokenizer import alphabet_tokenizer
from tests.policy.passes import run
from tests.reference import random_groups
from tests.tiny import ALPHABET, tiny_loader, tiny_policy

TEXT = "12+3=15#a"


def logits(policy: Policy) -> torch.Tensor:
    with torch.no_grad():
        return policy.model(torch.tensor([policy.tokenizer.encode(TEXT)])).logits


@pytest.mark.parametrize("model_type", ["qwen2", "gpt2", "gemma2"])
def test_round_trip(model_type: str, tmp_path: Path):
    policy = tiny_policy(model_type)
    policy.save_pretrained(tmp_path / "new" / "folder")
    loaded = PretrainedPolicy(str(tmp_path / "new" / "folder")).load()
    torch.testing.assert_close(logits(loaded), logits(policy), rtol=0, atol=0)
    assert loaded.tokenizer.get_vocab() == policy.tokenizer.get_vocab()
    assert loaded.tokenizer.encode(TEXT) == policy.tokenizer.encode(TEXT)
    assert loaded.decode(loaded.tokenizer.encode(TEXT)) == TEXT
    assert (loaded.end, loaded.pad_token_id) == (policy.end, policy.pad_token_id)


def test_exported_files_are_those_of_transformers(tmp_path: Path):
    policy = tiny_policy()
    policy.save_pretrained(tmp_path)
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= {
        path.name for path in tmp_path.iterdir()
    }
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = AutoTokenizer.from_pretrained(tmp_path)(TEXT, return_tensors="pt").input_ids
    torch.testing.assert_close(model(ids).logits, logits(policy), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("written", "asked", "expected"),
    [
        (None, "auto", torch.float32),
        ("bfloat16", "auto", torch.bfloat16),
        ("float16", "float32", torch.float32),
        (None, "bfloat16", torch.bfloat16),
        (None, "float64", torch.float64),
    ],
)
def test_dtypes(written: str | None, asked: str, expected: torch.dtype, tmp_path: Path):
    policy = tiny_policy()
    policy.save_pretrained(tmp_path, written)
    assert {parameter.dtype for parameter in policy.parameters()} == {torch.float32}
    loaded = PretrainedPolicy(str(tmp_path), torch_dtype=asked).load()
    assert {parameter.dtype for parameter in loaded.parameters()} == {expected}
    torch.testing.assert_close(logits(loaded).float(), logits(policy), rtol=0.1, atol=0.2)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradient_checkpointing_computes_layers_twice_and_changes_nothing(checkpointing: bool, tmp_path: Path):
    tiny_policy(vocab_size=64).save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # a name that transformers deprecates
        policy = PretrainedPolicy(str(tmp_path), gradient_checkpointing=checkpointing).load()
    calls = []
    policy.model.base_model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    groups = random_groups(dtype=torch.float32)[0]

    def gradient(scored: Policy) -> dict[str, torch.Tensor]:
        run(scored, groups, lambda tokens: tokens.advantages).loss.backward()
        return {name: parameter.grad for name, parameter in scored.named_parameters()}

    actual = gradient(policy)
    assert len(calls) == 1 + checkpointing
    torch.testing.assert_close(actual, gradient(PretrainedPolicy(str(tmp_path)).load()))


def test_attention_implementation_is_passed_on(tmp_path: Path):
    tiny_policy().save_pretrained(tmp_path)
    policy = PretrainedPolicy(str(tmp_path), attn_implementation="eager").load()
    assert policy.model.config._attn_implementation == "redirected_eager"


def test_attention_implementation_that_is_not_installed(tmp_path: Path):
    tiny_policy().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"`attn_implementation` \('flash_.*2'\): .*Flash.*leave it out, and trans"):
        PretrainedPolicy(str(tmp_path), attn_implementation="flash_attention_2").load_model()


def test_missing_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    loader = PretrainedPolicy(str(tmp_path / "nothing"))
    for load in (lambda: loader.tokenizer, loader.load_config):
        with pytest.raises(ValueError, match=r"`model_name_or_path` \('.*nothing'\): .*there is no such folder"):
            load()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"got neither for its model, and HF_HUB_OFFLINE is set"):
        PretrainedPolicy("no/such-model").load_config()


def test_folder_without_weights(tmp_path: Path):
    loader = tiny_loader()
    loader.config.save_pretrained(tmp_path)
    loader.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"expected weights \(model\.safetensors\), got a folder"):
        PretrainedPolicy(str(tmp_path)).load()
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(ValueError, match=r"got pytorch_model\.bin alone, .* convert it once with Auto"):
        PretrainedPolicy(str(tmp_path)).load()


def test_folder_without_a_model_or_a_tokenizer(tmp_path: Path):
    with pytest.raises(ValueError, match=r"expected a model, got a folder that holds no config\.json"):
        PretrainedPolicy(str(tmp_path)).tokenizer  # noqa: B018
    tiny_loader().config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="expected a tokenizer, got a folder that holds none; put tokenizer"):
        PretrainedPolicy(str(tmp_path)).tokenizer  # noqa: B018
    with pytest.raises(ValueError, match=r"config\.json'\): expected a folder, got a file; give the folder"):
        PretrainedPolicy(str(tmp_path / "config.json")).tokenizer  # noqa: B018


def test_revision_of_a_folder(tmp_path: Path):
    tiny_policy().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"`revision`: expected main for a folder, got 'v2' with `model_name_or_path`"):
        PretrainedPolicy(str(tmp_path), revision="v2").tokenizer  # noqa: B018


def test_model_that_is_no_causal_language_model(tmp_path: Path):
    config = T5Config(vocab_size=40, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    tiny_loader().tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="T5Config"):
        PretrainedPolicy(str(tmp_path)).load()


def test_tokenizer_larger_than_the_embedding():
    model = ScratchPolicy("0123").load_model()
    with pytest.raises(ValueError, match=r"the tokenizer: expected at most the 7 tokens that the model embeds, got 33"):
        Policy(model, tiny_loader().tokenizer)


def test_tokenizer_without_eos(tmp_path: Path):
    tokenizer = alphabet_tokenizer(ALPHABET)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    tiny_loader().config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="expected an end-of-sequence token"):
        PretrainedPolicy(str(tmp_path)).tokenizer  # noqa: B018


def test_tokenizer_without_padding_pads_with_eos(tmp_path: Path):
    tokenizer = alphabet_tokenizer(ALPHABET)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    tiny_loader().config.save_pretrained(tmp_path)
    loaded = PretrainedPolicy(str(tmp_path)).tokenizer
    assert loaded.pad_token_id == loaded.eos_token_id == 1


def test_every_eos_of_the_generation_config_ends_a_response(tmp_path: Path):
    policy = tiny_policy()
    policy.model.generation_config.eos_token_id = [1, 7]
    policy.save_pretrained(tmp_path)
    assert PretrainedPolicy(str(tmp_path)).load().end.eos_token_ids == (1, 7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alphabet": ""}, r"`alphabet`: expected at least one character, got ''"),
        ({"alphabet": "abca"}, r"`alphabet`: expected every character once, got 'a' more than once"),
        ({"alphabet": "ab", "model_type": "gpt17"}, r"`model_type`: expected the name of an architecture .*'gpt17'"),
    ],
)
def test_bad_scratch_policies(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        ScratchPolicy(**settings)


BAD_FIELDS: dict[str, tuple[str, Any, str]] = {
    "misspelt": ("hiden_size", 8, r"a field of Qwen2Config, which has no such; did you mean hidden_size\?"),
    "transformers' own": ("_attn_implementation", "foo", "a field of Qwen2Config"),
    "a method": ("to_dict", 1, "a field of Qwen2Config"),
    "negative": ("hidden_size", -1, "at least 1, got -1"),
    "text": ("hidden_size", "abc", r"got 'abc' \(.*expected int, got str"),
    "huge": ("hidden_size", 10**30, "got 10"),
    "no layers": ("num_hidden_layers", 0, "at least 1, got 0"),
    "unknown activation": ("hidden_act", "gelo", r"got 'gelo' \(KeyError: 'gelo'\)"),
    "heads that do not divide": ("num_attention_heads", 3, "a divisor of hidden_size=128, got 3"),
    "key heads that do not divide": ("num_key_value_heads", 3, "got 3"),
    "no number": ("rms_norm_eps", float("nan"), "a finite number, got nan"),
    "dropout": ("attention_dropout", 2.0, r"got 2.0 \(dropout probability has to be between 0 and 1"),
    "vocabulary": ("vocab_size", 3, "at least the 5 tokens of the alphabet, got 3"),
    "rope": ("rope_parameters", {"rope_type": "foo"}, "got {'rope_type': 'foo'"),
}


@pytest.mark.parametrize("case", BAD_FIELDS)
def test_bad_fields_of_a_scratch_policy_are_named_when_they_are_read(case: str):
    name, value, message = BAD_FIELDS[case]
    with pytest.raises(ValueError, match=rf"^`config\.{name}`: expected .*{message}") as raised:
        ScratchPolicy("ab", config={name: value, "intermediate_size": 64})
    assert "\n" not in str(raised.value)


def test_bad_fields_under_an_architectures_own_names():
    with pytest.raises(ValueError, match=r"^`config\.n_head`: expected at least 1, got 0"):
        ScratchPolicy("ab", "gpt2", {"n_head": 0})
    with pytest.raises(ValueError, match=r"^`config\.resid_pdrop`: expected .*, got 2 \("):
        ScratchPolicy("ab", "gpt2", {"resid_pdrop": 2})


@pytest.mark.parametrize("names", [("n_embd", "n_layer", "n_head"), ("hidden_size", "num_hidden_layers", "n_head")])
def test_scratch_policy_takes_an_architectures_own_names_and_the_common_ones(names: tuple[str, ...]):
    config = ScratchPolicy(ALPHABET, "gpt2", dict(zip(names, (24, 3, 2), strict=True))).load().model.config
    assert (config.n_embd, config.n_layer, config.n_head) == (24, 3, 2)


def test_scratch_policy_follows_the_seed():
    first, second, other = (logits(tiny_policy(seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_alphabet_tokenizer():
    tokenizer = alphabet_tokenizer(ALPHABET)
    assert tokenizer.decode(tokenizer.encode(ALPHABET)) == ALPHABET
    assert tokenizer.encode("!") == [tokenizer.unk_token_id]
    assert tokenizer.decode([*tokenizer.encode("1+1"), tokenizer.eos_token_id], skip_special_tokens=True) == "1+1"


def test_fresh_weights_are_drawn_on_the_cpu_whatever_the_device():
    loader = tiny_loader("qwen2")
    torch.manual_seed(0)
    loader.load_model()
    drawn = torch.get_rng_state()
    torch.manual_seed(0)
    with torch.device("meta"):  # on which nothing is drawn
        model = loader.load_model()
    assert model.device.type == "meta"
    assert torch.equal(torch.get_rng_state(), drawn)
