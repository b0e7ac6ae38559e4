"""Reads logs of the command line, also those of unfinished runs."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lightning_gft.errors import GFTValueError
from lightning_gft.report.side_files import MOST

Series = list[tuple[int, float]]
"""Values of one figure with their optimizer steps, in the order of steps."""


@dataclass(frozen=True)
class Log:
    """The rows of a ``metrics.csv``: optimizer steps with the figures logged at each."""

    rows: list[tuple[int, dict[str, float]]]

    @cached_property
    def train_steps(self) -> list[int]:
        """Steps at which figures of training were logged."""
        return [step for step, row in self.rows if is_training(row)]

    def continues(self, earlier: Log) -> bool:
        """Return whether the run resumed from a checkpoint of an earlier one, judged by the logged steps.

        A new run logs its first row after as many steps as lie between any two rows.
        """
        own, others = self.train_steps, earlier.train_steps
        longer = own if len(own) > 1 else others
        every = longer[1] - longer[0] if len(longer) > 1 else 1
        return own[0] > every and others[0] < own[0] <= others[-1] + every


def read_log(path: Path) -> Log:
    """Read a log; an unfinished last line is ignored, as the run may still be writing it.

    Raises:
        ValueError: If a line has no step, or does not fit the header.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    reader = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
    try:
        return Log([_row(row) for row in reader])
    except (csv.Error, KeyError, TypeError, ValueError, OverflowError) as error:
        line = reader.line_num + isinstance(error, csv.Error)  # the reader has not counted the faulty line
        raise GFTValueError(
            f"`RUN`: expected a step and figures in each line of {path}, got anything else in line {line}; delete the "
            "line, or the file if lightning-gft has not written it"
        ) from None


def _row(row: Mapping[str, str]) -> tuple[int, dict[str, float]]:
    step = int(float(row["step"]))
    if not 0 <= step <= MOST:
        raise GFTValueError(f"`step`: expected a count, got {step}")
    return step, {key: _figure(value) for key, value in row.items() if key and key not in _POSITION and value}


def _figure(value: str) -> float:
    """Return a figure; any text that is no number becomes NaN, which charts leave out."""
    try:
        return float(value)
    except ValueError:
        return math.nan


_POSITION = ("step", "epoch")


def in_order(logs: Iterable[Log]) -> dict[str, Series]:
    """Return the figures of a run from the logs of its starts.

    A step that was trained again after a checkpoint counts once, with its last values; later steps of the earlier start
    are dropped.
    """
    figures: dict[str, dict[int, float]] = {}
    last = 0
    for log in logs:
        for step, row in log.rows:
            if is_training(row):
                if step < last:
                    figures = {key: _before(of, step) for key, of in figures.items()}
                last = step
            for key, value in row.items():
                figures.setdefault(key, {})[step] = value
    return {key: sorted(of.items()) for key, of in figures.items() if of}


def is_training(row: Iterable[str]) -> bool:
    """Return whether a row of a log, or a collection of figure names, belongs to a training step."""
    return any(key.startswith("train/") for key in row)


def _before(figure: dict[int, float], step: int) -> dict[int, float]:
    return {earlier: value for earlier, value in figure.items() if earlier < step}
