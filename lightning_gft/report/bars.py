"""Charts of shares: one bar per run."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lightning_gft.report.frame import STYLES, WIDTH, chart, numbers_table
from lightning_gft.report.runs import Run
from lightning_gft.report.text import escape

_HEIGHT, _GAP, _TOP = 26, 72, 28
_LEAST = 0.13
"""Least share of a part whose name fits into the bar."""


def share_bars(title: str, runs: Sequence[Run], prefix: str, about: str) -> str:
    """Return a chart with a bar per run, divided by the mean of each figure whose name begins with ``prefix``."""
    names = dict.fromkeys(key.removeprefix(prefix) for run in runs for key in run.figures if key.startswith(prefix))
    shares = {run.name: {name: _mean(run, prefix + name) for name in names} for run in runs}
    shares = {name: of for name, of in shares.items() if sum(of.values()) > 0}
    if not shares:
        return ""
    for of in shares.values():
        of["other"] = max(0.0, 1 - sum(of.values()))
    parts = [*names, "other"]
    bars = "".join(_bar(name, of, place) for place, (name, of) in enumerate(shares.items()))
    told = ". ".join(
        f"{name}: {', '.join(f'{part} {share:.0%}' for part, share in of.items())}" for name, of in shares.items()
    )
    rows = [[name, *(f"{of[part]:.1%}" for part in parts)] for name, of in shares.items()]
    height = _TOP + _GAP * len(shares)
    return chart(title, bars, about=about, description=told, numbers=numbers_table(["", *parts], rows), height=height)


def _bar(name: str, shares: dict[str, float], place: int) -> str:
    top = _TOP + place * _GAP
    left, drawn, small = 0.0, [f'<text x="0" y="{top - 8}" class="name">{escape(name)}</text>'], []
    for style, (part, share) in enumerate(shares.items()):
        width = share * WIDTH
        about = escape(f"{part}: {share:.0%}")
        kind = "rest" if part == "other" else f"part s{style % STYLES}"
        drawn.append(
            f'<rect class="{kind}" x="{left:.1f}" y="{top}" width="{max(0.0, width - 1):.1f}" height="{_HEIGHT}">'
            f"<title>{about}</title></rect>"
        )
        if share >= _LEAST:
            drawn.append(f'<text x="{left + 6:.1f}" y="{top + 17}" class="inside">{escape(part)} {share:.0%}</text>')
        elif share >= 0.005:
            small.append(f"{part} {share:.0%}")
        left += width
    drawn.append(f'<text x="0" y="{top + _HEIGHT + 14}" class="tick">{escape(", ".join(small))}</text>')
    return "".join(drawn)


def _mean(run: Run, key: str) -> float:
    values = [value for _, value in run.series(key) if math.isfinite(value)]
    return sum(values) / len(values) if values else 0.0
