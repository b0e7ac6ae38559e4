"""Shows the advice that runs got."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_gft.record import ADVICE
from lightning_gft.report.private import without_owner
from lightning_gft.report.rows import advice_row
from lightning_gft.report.runs import Run
from lightning_gft.report.text import escape, isolated

_LONGEST = 1000
"""Characters of one piece of advice to show."""


def advice_section(runs: Sequence[Run]) -> str:
    """Return a list of the advice to each run in the order of steps, or an empty text without any."""
    rows = [(number, run, row) for number, run in enumerate(runs) for row in run.rows(ADVICE, advice_row)]
    items = "".join(
        f'<li class="s{number}">{_run_name(run, runs)}<b>step {row.step:,}</b> {_text(row.text)}</li>'
        for number, run, row in rows
    )
    return items and f'<ul class="advice">{items}</ul>'


def _text(text: str) -> str:
    return escape(without_owner(text[:_LONGEST]))


def _run_name(run: Run, runs: Sequence[Run]) -> str:
    return f'<span class="run">{isolated(run.name)}</span> ' if len(runs) > 1 else ""
