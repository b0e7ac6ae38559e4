"""The scan writes a row a task, whatever comes of it, and measures none twice."""

from __future__ import annotations

import json

import pytest

from benchmarks.study import scan
from lightning_gft import GymTask, ScratchPolicy

ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:;?!'\"()<>+-*/=\n"
WORDS = 'spell_backward{"max_word_len": 4}'


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    ScratchPolicy(ALPHABET).load().save_pretrained(folder)
    return folder


@pytest.fixture
def run(model, tmp_path):
    """Scan tasks and return the rows of the file."""
    output = tmp_path / "scan/rows.jsonl"

    def main(*tasks, **more):
        sizes = {"prompts": 3, "samples": 2, "max-new-tokens": 8, "system-prompt": "", "threads": 1, **more}
        options = [f"--{name}={value}" for name, value in sizes.items()]
        assert scan.main([f"--model={model}", f"--output={output}", *options, "--tasks", *tasks]) == 0
        return [json.loads(line) for line in output.read_text().splitlines()]

    return main


def test_tasks_are_read_with_level_or_settings():
    assert scan.read_task(WORDS) == (WORDS, GymTask("spell_backward", config={"max_word_len": 4}))
    assert scan.read_task("chain_sum")[1] == GymTask("chain_sum")
    for text in ("chain_sum@x", "chain_sum{"):
        with pytest.raises(ValueError, match=r"`tasks`: expected a name, a name@level or .*; correct it"):
            scan.read_task(text)
    assert {"chain_sum", "chain_sum@0", "list_functions"} <= {*scan.known_tasks()}
    assert "list_functions@0" not in scan.known_tasks()  # it has no curriculum


@pytest.mark.slow
def test_each_task_is_a_row_and_none_is_measured_twice(run, monkeypatch, capsys):
    rows = run(WORDS, "chain_sum@99", least=0)
    assert [row["task"] for row in rows] == [WORDS, "chain_sum@99"]
    assert {*scan._SHOWN, "mixed_groups", "seconds", "max_new_tokens"} <= rows[0].keys()
    assert 5 <= rows[0]["expert_tokens"] <= 6  # a space, three or four letters, and the end
    assert rows[0]["mean"] <= rows[0]["pass@k"] <= 1
    assert "levels" in rows[1]["skipped"]
    assert "spell_backward" in capsys.readouterr().out
    monkeypatch.setattr(scan.Scan, "measure", lambda *_: pytest.fail("it has its row"))
    assert run(WORDS, "chain_sum@99") == rows


def test_a_task_whose_answers_are_too_long_is_not_sampled(run):
    [row] = run(WORDS, **{"max-new-tokens": 3})
    assert row["skipped"] == "too long"
    assert row["expert_tokens"] > 3
    assert "mean" not in row


def test_no_task_begins_when_the_time_is_over(run, tmp_path):
    with pytest.raises(FileNotFoundError):
        run(WORDS, minutes=0)
