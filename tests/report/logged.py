"""Logs as the command line writes them."""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning_gft import record

Row = Mapping[str, float]


def train(step: int, **figures: float) -> dict[str, float]:
    """Return a row of a training step."""
    standard = {"reward": 0.5, "num_tokens": 100.0 * step, "tokens_per_second": 50.0}
    return {"step": step, "epoch": 0, **{f"train/{name}": value for name, value in {**standard, **figures}.items()}}


def val(step: int, greedy: float, **figures: float) -> dict[str, float]:
    """Return a row of a validation."""
    return {"step": step, "epoch": 0, "val/greedy_accuracy": greedy, **{f"val/{k}": v for k, v in figures.items()}}


def write_log(folder: Path, rows: Iterable[Row], version: int = 0) -> Path:
    """Write a log below the root of a run, and return its path."""
    path = folder / f"lightning_logs/version_{version}/metrics.csv"
    path.parent.mkdir(parents=True)
    rows = list(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, sorted({key for row in rows for key in row}))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_rows(folder: Path, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of a record beside a log."""
    for row in rows:
        record.append_row(folder / name, row)


def write_run_json(folder: Path, **given: Any) -> None:
    """Write the description of a run beside its log."""
    description = {
        "version": 1,
        "started": "2026-01-02T03:04:05+00:00",
        "starts": [{"started": "2026-01-02T03:04:05+00:00", "step": 0}],
        "versions": {"lightning_gft": "0.1.0", "torch": "2.13.0"},
        "device": {"kind": "cuda", "name": "H200", "count": 2},
        "world_size": 2,
        "precision": "bf16-true",
        "parameters": 2_000_000,
        "trainable": 500_000,
        "model": "PretrainedPolicy",
        "data": {"train": 512, "val": {"": 128, "second_skill": 64}},
        **given,
    }
    (folder / record.RUN).write_text(json.dumps(description))


def long_log(steps: int, figures: int, seed: int = 0) -> list[dict[str, float]]:
    """Return the rows of a long run that logs many figures."""
    draw = random.Random(seed)
    names = [f"figure_{number}" for number in range(figures)]
    rows: list[dict[str, float]] = []
    for step in range(1, steps + 1):
        by_source = {f"reward_by_source/{source}": draw.random() for source in ("expert", "teacher", "self")}
        weights = {
            "inverse_probability_max": math.exp(5 * draw.random()),
            "rectified_weight_max": 1.4 + 0.1 * draw.random(),
            "rectified_weight_max_by_source/expert": 1.4,
            "grad_norm": math.exp(draw.gauss(0, 1)),
        }
        rows.append(train(step, **by_source, **weights, **{name: draw.random() for name in names}))
        if step % 100 == 0:
            draws = {"mean@8": 0.4, "pass@8": 0.9, "entropy": 0.1, "kl": 0.01 * step}
            rows.append(val(step, draw.random(), **draws, **{"greedy_accuracy_stderr": 0.02}))
    return rows
