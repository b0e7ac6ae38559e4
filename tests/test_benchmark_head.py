"""The head's benchmark runs at minuscule sizes, and refuses contestants that give different values."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("psutil", reason="comes with the extra `bench`")

from benchmarks import head, head_memory
from benchmarks.head_contestants import CONTESTANTS, OURS, HeadInputs, draw_inputs

INSTALLED = {
    "TRL": importlib.util.find_spec("trl") is not None,
    "Liger": importlib.util.find_spec("liger_kernel") is not None,
}


@pytest.fixture(params=["float32", "bfloat16"])
def inputs(request: pytest.FixtureRequest) -> HeadInputs:
    return draw_inputs(tokens=6, hidden=16, vocabulary=40, dtype=getattr(torch, request.param), device="cpu")


def test_contestants_agree_and_those_that_are_not_installed_are_named(inputs: HeadInputs):
    did_not_run = head.check_agreement(inputs)
    assert did_not_run.keys() == {name for name, installed in INSTALLED.items() if not installed}
    assert all("not installed" in why for why in did_not_run.values())


def test_different_values_are_not_compared(inputs: HeadInputs, monkeypatch: pytest.MonkeyPatch):
    def doubled(given: HeadInputs):
        return CONTESTANTS["full logits"](replace(given, coefficients=2 * given.coefficients))

    monkeypatch.setitem(CONTESTANTS, "doubled", doubled)
    with pytest.raises(SystemExit, match=r"doubled and full logits give different values.*loss by 1\.0e\+00"):
        head.check_agreement(inputs)


def test_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(head, "added_memory", lambda name, inputs: 1.0)  # which imports everything again each time
    output = tmp_path / "head.json"
    sizes = ["--tokens=6", "--hidden", "16", "24", "--vocabulary=40", "--rounds=1"]
    assert head.main([*sizes, f"--output={output}"]) == 0
    record = json.loads(output.read_text())
    assert {"command", "date", "commit", "hardware", "versions", "dtype"} <= record.keys()
    assert [measured["hidden"] for measured in record["measurements"]] == [16, 24]
    for measured in record["measurements"]:
        assert {OURS, "ours, with entropy", "full logits", "floor"} <= measured["contestants"].keys()
        assert measured["contestants"][OURS]["ours_over_it"] == 1
    assert "6 tokens" in capsys.readouterr().out


def test_memory_is_that_of_the_contestant_alone():
    inputs = draw_inputs(tokens=512, hidden=8, vocabulary=20_000, dtype=torch.float32, device="cpu")
    logits = 512 * 20_000 * 4 / head_memory.MIB
    assert logits < head_memory.added_memory("full logits", inputs) < 6 * logits
