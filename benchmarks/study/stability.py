"""What learning rates do to a method: what explodes, fails or collapses, and how many of them work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from benchmarks.study.outcome import begins_and_ends

WORKS = 0.95
"""Share of the best rate's figure that a rate must end at to count as one that works."""


@dataclass(frozen=True)
class Stability:
    """A method over all learning rates.

    Args:
        best: Mean at the end, at the best rate.
        grad_norm: Largest gradient norm of all runs, failed ones too.
        weight: Largest weight of a token of all runs, failed ones too.
        ended: Runs that have ended.
        failed: Runs that have failed.
        collapsed: Runs that have finished below where they began.
        basin: Lowest and highest of the rates around the best that work.
        at_edge: Whether the basin touches the lowest or the highest rate tried, and so may be wider.
    """

    best: float
    grad_norm: float
    weight: float
    ended: int
    failed: int
    collapsed: int
    basin: tuple[float, float] | None
    at_edge: bool


def assess(rows: pd.DataFrame, rates: Sequence[float], figure: str = "mean") -> Stability:
    """Return how a method bears learning rates.

    Args:
        rows: Rows of a method's runs at all rates.
        rates: The rates that were tried.
        figure: Column of the figure that says how well a run ends.
    """
    status = rows.drop_duplicates("run").set_index("run")
    begins, ends = begins_and_ends(rows)
    broken = {*status.loc[status["status"] == "failed", "learning_rate"]}
    means = {
        rate: math.nan if rate in broken else float(ends.loc[ends["learning_rate"] == rate, figure].mean())
        for rate in sorted(rates)
    }
    basin = _basin(means)
    return Stability(
        best=max((mean for mean in means.values() if mean == mean), default=math.nan),
        grad_norm=_largest(rows, "grad_norm_max"),
        weight=_largest(rows, "weight_max"),
        ended=len(status),
        failed=int((status["status"] == "failed").sum()),
        collapsed=int(ends[figure].lt(begins[figure]).sum()),
        basin=basin,
        at_edge=bool(basin) and not {min(rates), max(rates)}.isdisjoint(basin or ()),
    )


def _basin(means: dict[float, float]) -> tuple[float, float] | None:
    """Return the ends of the unbroken range of rates around the best; a rate with a failed run breaks it."""
    rates = [*means]
    whole = [rate for rate in rates if means[rate] == means[rate]]
    if not whole:
        return None
    first = last = rates.index(max(whole, key=lambda rate: means[rate]))
    least = WORKS * means[rates[first]]
    while first > 0 and means[rates[first - 1]] >= least:
        first -= 1
    while last < len(rates) - 1 and means[rates[last + 1]] >= least:
        last += 1
    return rates[first], rates[last]


def _largest(rows: pd.DataFrame, figure: str) -> float:
    return float(rows[figure].max()) if figure in rows else math.nan
