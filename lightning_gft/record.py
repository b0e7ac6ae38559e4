"""The files that a run writes beside its logs: their names, their rows, and the bins of their histograms.

=====================  =================================================================================================
``run.json``           ``version``, ``started`` and ``starts`` (``started`` and ``step`` of each start of the fit),
                       ``versions`` of libraries, ``device`` (``kind``, ``name``, ``count``), ``world_size``,
                       ``precision``, ``parameters``, ``trainable``, ``model``, and the number of prompts in ``data``,
                       for ``train`` and by name for ``val``; the name of the main data set is empty
``weights.jsonl``      ``step``, and the weights of its tokens ``before`` and ``after`` rectification: by source, the
                       count of each bin by its number (:func:`bin_edges`); empty bins are left out
``advice.jsonl``       ``step``, ``name``, ``figures`` by name, and ``text``; ``stage`` in a run in stages
``samples/*.parquet``  groups, one row per response
=====================  =================================================================================================

Rows are appended and a file is replaced as a whole, so all of them can be read during the run. A fit that starts at a
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
"""The middle of a bin is within 4.5% of all values in it."""
LOWEST, HIGHEST = -24 * BINS_PER_OCTAVE, 64 * BINS_PER_OCTAVE
"""The middle of bin ``b`` is ``2 ** (b / 8)``, so that a weight of 1 is in the middle of bin 0 despite rounding."""
BELOW, ABOVE, ZERO = LOWEST - 1, HIGHEST + 1, LOWEST - 2
"""Bins of positive values below the lowest bin, of values above the highest, and of zeros."""


def bin_edges(number: int) -> tuple[float, float]:
    """Return the lower and upper edge of a bin.

    Args:
        number: Number of the bin, from :data:`ZERO` to :data:`ABOVE`.

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
    """Return the smallest value that at least a fraction of all values does not exceed, as the middle of its bin.

    Args:
        counts: Count of each bin, by its number.
        share: Fraction of the values, from 0 to 1.

    Raises:
        ValueError: If all counts are 0.

    Example:
        >>> quantile({0: 98, 8: 1, 16: 1}, 0.99)
        2.0
    """
    below, wanted = 0.0, share * sum(counts.values())
    for number in sorted(counts):
        below += counts[number]
        if counts[number] and below >= wanted:
            return bin_middle(number)
    raise GFTValueError("`counts`: expected a histogram with values, got an empty one; give one with counts above 0")


def bin_middle(number: int) -> float:
    """Return the value that represents a bin.

    Args:
        number: Number of the bin, from :data:`ZERO` to :data:`ABOVE`.

    Example:
        >>> bin_middle(0), bin_middle(8), bin_middle(ZERO)
        (1.0, 2.0, 0.0)
    """
    return 0.0 if number == ZERO else math.exp2(number / BINS_PER_OCTAVE)


def write_whole(path: Path, text: str) -> None:
    """Write a file so that readers find either its old or its new contents, complete.

    Args:
        path: File to write; its folder is created if it does not exist.
        text: New contents of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Append a row to a JSON Lines file.

    Args:
        path: File to append to; its folder is created if it does not exist.
        row: Row with a ``step``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(_line(row))


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace all rows of a JSON Lines file; readers find either the old or the new ones.

    Args:
        path: File to write; its folder is created if it does not exist.
        rows: Rows, each with a ``step``.
    """
    write_whole(path, "".join(map(_line, rows)))


def read_rows(path: Path) -> tuple[list[dict[str, Any]], str | None]:
    """Return the rows of a JSON Lines file, except an unfinished last line; a missing file has no rows.

    Args:
        path: File that :func:`append_row` has written.

    Returns:
        The rows, each with an integer ``step``, and the fault of the first line that is not a row, or ``None``.
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
    """Drop the rows after a step, an unfinished line, and lines that are not rows.

    Args:
        path: File that :func:`append_row` has written, which need not exist.
        step: Last step that is kept.

    Returns:
        The fault of the first line that is not a row; ``None`` if there is no such line, as in undamaged files.
    """
    if not path.exists():
        return None
    rows, fault = read_rows(path)
    write_rows(path, (row for row in rows if row["step"] <= step))
    return fault and f"`{path}`: {fault}"


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, separators=(",", ":")) + "\n"
