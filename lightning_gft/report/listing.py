"""Lists every logged figure, including those of a user's own parts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lightning_gft.report.logs import Series
from lightning_gft.report.markup import run_heads, table
from lightning_gft.report.runs import Run
from lightning_gft.report.scales import number
from lightning_gft.report.text import escape


def listing_section(runs: Sequence[Run]) -> str:
    """Return a collapsible table of all figures."""
    names = sorted({name for run in runs for name in run.figures})
    if not names:
        return '<p class="note">No figures have been logged yet.</p>'
    rows = [[f"<code>{escape(name)}</code>", *(_summary(run.series(name)) for run in runs)] for name in names]
    inside = table(["figure", *run_heads(runs)], rows, caption="First and last value, and the range of all values.")
    return f"<details><summary>{len(names)} figures</summary>{inside}</details>"


def _summary(series: Series) -> str:
    if not series:
        return "&ndash;"
    values = [value for _, value in series]
    finite = [value for value in values if math.isfinite(value)]
    if len(values) == 1 or not finite:
        return number(values[-1])
    return f"{number(values[0])} → {number(values[-1])} <small>{number(min(finite))} to {number(max(finite))}</small>"
