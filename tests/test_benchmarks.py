"""The memory benchmark runs on a minuscule model, and compares only what can be compared."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

pytest.importorskip("psutil", reason="comes with the extra `bench`")

from benchmarks import memory, random_model
from benchmarks.memory import compare, main
from benchmarks.random_model import write_model
from benchmarks.setting import SHAPES, Setting, Side
from benchmarks.side import main as run_in_own_folder
from benchmarks.side import run_side
from lightning_gft import PretrainedPolicy
from tests.cli.command import ROOT

MEASURED = {"peak_mib": 30.0, "added_by_training_mib": 10.0, "trained_tokens": 100, "trained_parameters": 7}


def minuscule(**changes: Any) -> Setting:
    return Setting(**{"size": "minuscule", "prompt_length": 8, "response_length": 8, "group_size": 4, **changes})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    write_model(folder, minuscule())
    return folder


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_our_side(method: str, model: Path, tmp_path: Path):
    setting = minuscule(method=method, prompts=2)
    result = run_side("ours", setting, model, tmp_path)
    assert "error" not in result
    assert result["trained_tokens"] == setting.response_tokens == 2 * 2 * 4 * 8  # no response ended by itself
    assert result["peak_mib"] >= result["loaded_mib"] > 0
    assert result["trained_dtypes"] == {"float32": result["trained_parameters"]}
    assert ("uint8" in result["all_dtypes"]) == (method == "qlora")


@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="comes with the extra `bench`")
def test_both_sides_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    in_own_process = memory._in_own_process

    def ours_in_this(side: Side, workplace: Path) -> dict[str, Any]:  # to save half of the imports
        if side == "peer":
            return in_own_process(side, workplace)
        run_in_own_folder(side, workplace)
        result: dict[str, Any] = json.loads((workplace / side / "result.json").read_text())
        return result

    monkeypatch.setattr(memory, "_in_own_process", ours_in_this)
    output = tmp_path / "results/memory.json"
    assert main(["--size=minuscule", "--method=lora", "--group-size=4", f"--output={output}"]) == 0
    record = json.loads(output.read_text())
    assert record["ours"]["trained_tokens"] == record["peer"]["trained_tokens"] == 64
    assert record["ours"]["trained_parameters"] == record["peer"]["trained_parameters"]
    assert record["ratios"]["peak_mib"] == pytest.approx(
        record["ours"]["peak_mib"] / record["peer"]["peak_mib"], abs=1e-3
    )
    assert record["peer"]["settings"]["gradient_checkpointing"]
    assert {"command", "date", "hardware", "versions"} <= record.keys()
    assert "peak, MiB" in capsys.readouterr().out


def test_model_in_shards_with_a_head_of_its_own_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(SHAPES, "minuscule", {**SHAPES["minuscule"], "tie_word_embeddings": False})
    monkeypatch.setattr(random_model, "_SHARD_BYTES", 2**16)
    write_model(tmp_path, minuscule())
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    policy = PretrainedPolicy(str(tmp_path)).load()  # which refuses a model that lacks weights
    assert policy.model.get_output_embeddings().weight[1, 0] == -1  # the end of sequence is asked for by nothing


def test_prompts_are_as_long_as_they_say(model: Path):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model)
    texts = minuscule(prompts=2, prompt_length=5, vocab_size=300).texts()
    assert [len(tokenizer(text)["input_ids"]) for text in texts] == [5] * 4
    assert len(set(texts)) == 4


def test_compares_only_the_same_work():
    assert compare(MEASURED, {**MEASURED, "peak_mib": 40.0})["ratios"] == {
        "peak_mib": 0.75,
        "added_by_training_mib": 1.0,
    }
    assert compare(MEASURED, {**MEASURED, "trained_tokens": 96})["refused"] is None
    for other, why in [
        ({**MEASURED, "trained_tokens": 94}, "100 and 94 tokens"),
        ({**MEASURED, "trained_parameters": 8}, "7 and 8 weights"),
        ({"error": "OutOfMemoryError: too large"}, "peer did not run: OutOfMemoryError"),
    ]:
        compared = compare(MEASURED, other)
        assert compared["ratios"] is None
        assert why in compared["refused"]


def test_what_cannot_run_says_why(tmp_path: Path):
    (tmp_path / "setting.json").write_text(json.dumps(asdict(minuscule())))
    run_in_own_folder("ours", tmp_path)  # there is no model
    result = json.loads((tmp_path / "ours/result.json").read_text())
    assert "model" in result["error"]
    assert result["settings"]["gradient_checkpointing"]


def test_committed_records_are_whole():
    paths = sorted((ROOT / "benchmarks/results").glob("memory_*.json"))
    assert paths
    for path in paths:
        record = json.loads(path.read_text())
        assert f"--output benchmarks/results/{path.name}" in record["command"]
        assert record["ratios"] or record["refused"]
