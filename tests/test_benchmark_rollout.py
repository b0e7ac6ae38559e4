"""The rollout benchmark runs on a minuscule model, and times only those who draw the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import rollout
from benchmarks.draws import CONTESTANTS, OURS, Work
from benchmarks.rollout import check, main
from lightning_gft import Response


def work(**changes: Any) -> Work:
    small = {"size": "minuscule", "device": "cpu", "prompts": 3, "group_size": 2, "prompt_length": 6}
    return Work(**{**small, "response_length": 6, "lengths": "even", "seed": 0, **changes})


@pytest.mark.parametrize("lengths", ["even", "ragged"])
def test_from_the_command_line(lengths: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    output = tmp_path / "record.json"
    sizes = ("--prompts=3", "--group-size=2", "--prompt-length=6", "--response-length=6", "--rounds=1")
    assert main(["--size=minuscule", *sizes, f"--lengths={lengths}", f"--output={output}"]) == 0
    record = json.loads(output.read_text())
    assert {"command", "commit", "hardware", "versions", "work"} <= record.keys()
    assert {"generate", OURS} <= record["figures"].keys()
    assert record["figures"].keys() | record["did_not_run"].keys() == CONTESTANTS.keys()
    for row in record["figures"].values():
        assert (row["tokens"] == 3 * 2 * 6) == (lengths == "even")
    assert OURS in capsys.readouterr().out


def test_others_that_draw_differently_or_break_are_not_timed(monkeypatch: pytest.MonkeyPatch):
    def broken(*_: Any, **__: Any) -> None:
        raise ArithmeticError("no such thing")

    monkeypatch.setitem(CONTESTANTS, "another", lambda *_, **__: [[1]])
    monkeypatch.setitem(CONTESTANTS, "broken", broken)
    runnable, excuses = check(work())
    assert runnable[:2] == ["generate", OURS]
    assert "not those of the others" in excuses["another"]
    assert excuses["broken"] == "ArithmeticError: no such thing"


def test_ours_has_to_draw_the_same(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(CONTESTANTS, OURS, lambda *_, **__: [[1]])
    with pytest.raises(RuntimeError, match="ours did not run: its greedy"):
        check(work())


def test_our_log_probabilities_have_to_be_the_models(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Work, "responses", lambda *_, **__: [[Response([1], logprobs=[-1.0])]] * 3)
    monkeypatch.setitem(CONTESTANTS, OURS, CONTESTANTS["generate"])
    with pytest.raises(RuntimeError, match="log-probabilities are up to"):
        rollout.check(work())


def test_prompts_and_ends_are_as_ragged_as_asked():
    even, ragged = work(), work(lengths="ragged", prompts=20)
    assert {len(ids) for ids in even.prompt_ids} == {6}
    assert {len(ids) for ids in ragged.prompt_ids} == {3, 4, 5, 6}
    assert even.end.eos_token_ids == (512,)
    assert len(ragged.end.eos_token_ids) == round(2 * 512 / 6)
