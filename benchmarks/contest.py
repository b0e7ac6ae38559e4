"""Several ways to do the same work, timed side by side in one run."""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table


def interleave(
    contestants: dict[str, Callable[[], Any]], rounds: int, warmup: int = 1, device: str = "cpu"
) -> dict[str, list[float]]:
    """Run all contestants in turn, round after round, so that what else the machine does hits all of them alike.

    Args:
        contestants: What to run, by names.
        rounds: Timed rounds.
        warmup: Rounds before them that are not timed.
        device: With ``"cuda"`` a run ends when the GPU is done.

    Returns:
        Seconds of every round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(warmup + rounds):
        for name, run in contestants.items():
            gc.collect()
            wait(device)
            started = time.perf_counter()
            run()
            wait(device)
            if number >= warmup:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def summarize(seconds: dict[str, list[float]], ours: str) -> dict[str, dict[str, float]]:
    """Return medians, spread and ratios.

    Args:
        seconds: From :func:`interleave`.
        ours: Name of the contestant that the others are compared with.

    Returns:
        For each contestant ``median_s``, ``min_s``, ``max_s`` and ``ours_over_it``, the ratio of medians.

    Example:
        >>> summarize({"ours": [1.0, 2.0, 3.0], "peer": [4.0, 4.0, 5.0]}, "ours")["peer"]["ours_over_it"]
        0.5
    """
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        name: {
            "median_s": round(medians[name], 4),
            "min_s": round(min(values), 4),
            "max_s": round(max(values), 4),
            "ours_over_it": round(medians[ours] / medians[name], 3),
        }
        for name, values in seconds.items()
    }


def print_table(title: str, rows: dict[str, dict[str, Any]]) -> None:
    """Print one row a contestant, one column a figure.

    Args:
        title: What was measured.
        rows: Figures by contestant.
    """
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    table = Table(title=title)
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(str(row.get(column, "-")) for column in columns))
    Console().print(table)


def write_record(path: Path | None, record: dict[str, Any]) -> None:
    """Write a record as JSON, where a file is given.

    Args:
        path: Where to.
        record: What to.
    """
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=2) + "\n")


def wait(device: str) -> None:
    """Wait until the device has done what it was given.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
    """
    if device == "cuda":
        torch.cuda.synchronize()
