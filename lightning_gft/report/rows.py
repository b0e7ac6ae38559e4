"""Parses rows of a run's record into values of known types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from lightning_gft.errors import GFTValueError
from lightning_gft.record import ABOVE, ZERO
from lightning_gft.report.side_files import is_count, kind_of

Bins = dict[str, dict[int, int]]
"""Number of weights in each bin, by source."""


class Weights(NamedTuple):
    """A row of ``weights.jsonl``."""

    step: int
    before: Bins
    after: Bins


class Advice(NamedTuple):
    """A row of ``advice.jsonl``."""

    step: int
    text: str


def weights_row(row: Mapping[str, Any]) -> Weights:
    """Parse a row of weights.

    Raises:
        ValueError: If a field is missing or has a wrong type.
    """
    return Weights(_step(row), _bins(row, "before"), _bins(row, "after"))


def advice_row(row: Mapping[str, Any]) -> Advice:
    """Parse a row of advice.

    Raises:
        ValueError: If a field is missing or has a wrong type.
    """
    step, text = _step(row), row.get("text")
    if not isinstance(text, str):
        raise GFTValueError(f"expected a text of step {step}, got {kind_of(text)}")
    return Advice(step, text)


def _step(row: Mapping[str, Any]) -> int:
    step = row["step"]
    if not is_count(step):
        raise GFTValueError(f"`step`: expected a count, got {kind_of(step)}")
    return int(step)


def _bins(row: Mapping[str, Any], side: str) -> Bins:
    sources = row.get(side)
    if not isinstance(sources, Mapping) or not all(isinstance(bins, Mapping) for bins in sources.values()):
        raise GFTValueError(f"`{side}` of step {row['step']}: expected bins by source, got {kind_of(sources)}")
    return {source: dict(_bin(row, side, *of) for of in bins.items()) for source, bins in sources.items()}


def _bin(row: Mapping[str, Any], side: str, place: str, count: Any) -> tuple[int, int]:
    known = len(place) <= 5 and place.removeprefix("-").isdecimal() and ZERO <= int(place) <= ABOVE
    if not known or not is_count(count):
        raise GFTValueError(
            f"`{side}` of step {row['step']}: expected a count in a bin from {ZERO} to {ABOVE}, got {kind_of(count)} "
            f"in {place[:20]!r}"
        )
    return int(place), count
