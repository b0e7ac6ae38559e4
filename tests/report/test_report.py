"""Runs side by side: what the table and the plot are made of."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from lightning_gft.report.__main__ import main
from lightning_gft.report.runs import Run, figures

ROWS = [
    {"step": 0, "train/grad_norm": 3.0, "train/num_tokens": 1000},
    {"step": 0, "val/greedy_accuracy": 0.25, "val/mean@4": 0.125},
    {"step": 1, "train/grad_norm": 1.0, "train/num_tokens": 2000},
    {"step": 1, "val/greedy_accuracy": 0.75, "val/mean@4": 0.5},
]


def write_run(folder: Path, rows: list[dict[str, float]], version: int = 0) -> Path:
    path = folder / f"lightning_logs/version_{version}/metrics.csv"
    path.parent.mkdir(parents=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, sorted({key for row in rows for key in row}))
        writer.writeheader()
        writer.writerows(rows)
    return path


def shown(run: Run) -> dict[str, str]:
    return {figure.title: figure.show(run) for figure in figures(num_samples=4)}


def test_figures_are_last_values_or_largest_ones(tmp_path):
    write_run(tmp_path, ROWS)
    run = Run.read("gft", tmp_path)
    assert run.series("val/greedy_accuracy") == [(0, 0.25), (1, 0.75)]
    figures = shown(run)
    assert (figures["greedy"], figures["mean@4"], figures["pass@4"]) == ("0.75", "0.50", "-")
    assert (figures["max grad norm"], figures["tokens"]) == ("3.00", "2,000")


def test_newest_version_counts(tmp_path):
    write_run(tmp_path, ROWS[:2], version=10)
    newest = write_run(tmp_path, ROWS, version=9)
    os.utime(newest, (2**31, 2**31))
    assert shown(Run.read("gft", tmp_path))["greedy"] == "0.75"


def test_a_validation_does_not_stand_for_the_training_run(tmp_path):
    write_run(tmp_path, ROWS, version=0)
    later = write_run(tmp_path, [{"step": 0, "val/greedy_accuracy": 0.5}], version=1)
    os.utime(later, (2**31, 2**31))
    assert shown(Run.read("gft", tmp_path))["greedy"] == "0.75"


def test_command_prints_every_run_and_saves_the_plot(tmp_path, capsys):
    write_run(tmp_path / "base", ROWS[1:2])
    write_run(tmp_path / "gft", ROWS)
    output = tmp_path / "plots/comparison.png"
    runs = [f"{name}={tmp_path / name}" for name in ("base", "gft")]
    main([*runs, f"--output={output}", "--num_samples=4"])
    printed = capsys.readouterr().out
    assert "mean@4" in printed
    assert "greedy │ 0.25 │ 0.75" in " ".join(printed.split())
    assert str(tmp_path / "gft/lightning_logs/version_0/metrics.csv") in printed
    assert max(map(len, printed.split("base:")[0].splitlines())) <= 80
    assert output.read_bytes().startswith(b"\x89PNG")


def test_output_that_cannot_be_written_is_named(tmp_path, capsys):
    write_run(tmp_path, ROWS)
    with pytest.raises(SystemExit):
        main([f"gft={tmp_path}", "--output=/dev/null/plot.png"])
    assert "--output=/dev/null/plot.png cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(("argument", "message"), [("gft", "not NAME=FOLDER"), ("gft=nowhere", "no metrics.csv below")])
def test_bad_argument_is_named(argument, message, capsys):
    with pytest.raises(SystemExit):
        main([argument])
    assert message in capsys.readouterr().err
