"""What a run leaves beside its logs: the names of its files, their rows, and the bins of its histograms.

=====================  =================================================================================================
``run.json``           ``version``, ``started`` and ``starts`` (``started`` and ``step`` of each start of the fit),
                       ``versions`` of libraries, ``device`` (``kind``, ``name``, ``count``), ``world_size``,
                       ``precision``, ``parameters``, ``trainable``, ``model``, and how many prompts ``data`` has, of
                       ``train`` and by name of ``val``; the name of the main data set is empty
``weights.jsonl``      ``step``, and the weights of its tokens ``before`` and ``after`` rectification: by source, how
                       many are in each bin, by its number (:func:`bin_edges`); bins without any are left out
``advice.jsonl``       ``step``, ``name``, ``figures`` by name, and ``text``; ``stage`` in a run in stages
``samples/*.parquet``  groups, one row a response
=====================  =================================================================================================

Rows are appended and a file is written whole, so all of them can be read while the run lasts. A fit that starts at a
step drops the rows after it (:func:`drop_rows_after`): those of a run that was killed there, or of another run.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning_gft.errors import GFTValueError

VERSION = 1
RUN = "run.json"
WEIGHTS = "weights.jsonl"
ADVICE = "advice.jsonl"
SAMPLES = "samples"

BINS_PER_OCTAVE = 8
"""A bin's middle is within 4.5% of all that is in it."""
LOWEST, HIGHEST = -24 * BINS_PER_OCTAVE, 64 * BINS_PER_OCTAVE
"""Bin ``b`` has its middle at ``2 ** (b / 8)``, so that a weight of 1, however rounded, is in the middle of bin 0."""
BELOW, ABOVE, ZERO = LOWEST - 1, HIGHEST + 1, LOWEST - 2
"""Bins of what is positive but below the lowest, of what is above the highest, and of zeros alone."""


def bin_edges(number: int) -> tuple[float, float]:
    """Return where a bin begins and where it ends.

    Args:
        number: From :data:`ZERO` to :data:`ABOVE`.

    Example:
        >>> bin_edges(0)
        (0.9576032806985737, 1.0442737824274138)
        >>> bin_edges(ZERO), bin_edges(ABOVE)[1]
        ((0.0, 0.0), inf)
    """
    low, high = (math.exp2((number + side) / BINS_PER_OCTAVE) for side in (-0.5, 0.5))
    if number in (ZERO, BELOW):
        return 0.0, high if number == BELOW else 0.0
    return low, float("inf") if number == ABOVE else high


def quantile(counts: Mapping[int, float], share: float) -> float:
    """Return the smallest value that at least a share of what was counted does not exceed, as the middle of its bin.

    Args:
        counts: By the number of a bin.
        share: From 0 to 1.

    Raises:
        ValueError: If nothing was counted.

    Example:
        >>> quantile({0: 98, 8: 1, 16: 1}, 0.99)
        2.0
    """
    below, wanted = 0.0, share * sum(counts.values())
    for number in sorted(counts):
        below += counts[number]
        if counts[number] and below >= wanted:
            return bin_middle(number)
    raise GFTValueError("`counts`: expected a histogram of something, got one of nothing; give one that was counted")


def bin_middle(number: int) -> float:
    """Return the value that stands for a bin.

    Args:
        number: From :data:`ZERO` to :data:`ABOVE`.

    Example:
        >>> bin_middle(0), bin_middle(8), bin_middle(ZERO)
        (1.0, 2.0, 0.0)
    """
    return 0.0 if number == ZERO else math.exp2(number / BINS_PER_OCTAVE)


def write_whole(path: Path, text: str) -> None:
    """Write a file that a reader finds whole, as it was or as it is now.

    Args:
        path: Its folder is made.
        text: What is in it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Append a row to a file of lines of JSON.

    Args:
        path: Its folder is made.
        row: Has a ``step``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(_line(row))


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write all rows of a file of lines of JSON; a reader finds the old ones or these.

    Args:
        path: Its folder is made.
        rows: Each has a ``step``.
    """
    write_whole(path, "".join(map(_line, rows)))


def read_rows(path: Path) -> tuple[list[dict[str, Any]], str | None]:
    """Return the rows of a file of lines of JSON, without one that is being written; none where there is no file.

    Args:
        path: One of those that :func:`append_row` writes.

    Returns:
        The rows, each with an integer ``step``, and what is wrong with the first line that is no row, or ``None``.
    """
    rows, fault = [], None
    *lines, _ = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else [""]
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
        elif fault is None:
            fault = f"expected JSON with a step in line {number}, got {line[:80]!r}"
    return rows, fault


def drop_rows_after(path: Path, step: int) -> str | None:
    """Drop the rows after a step, a line that was never finished, and lines that are no rows.

    Args:
        path: One of those that :func:`append_row` writes, or none yet.
        step: The last one that stays.

    Returns:
        What is wrong with the first line that is no row; ``None`` if all are, as in every file that is not damaged.
    """
    if not path.exists():
        return None
    rows, fault = read_rows(path)
    write_rows(path, (row for row in rows if row["step"] <= step))
    return fault and f"`{path}`: {fault}"


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, separators=(",", ":")) + "\n"
