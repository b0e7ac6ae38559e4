"""Histograms of inverse-probability weights, before and after rectification."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lightning_gft.record import WEIGHTS, ZERO, bin_edges, bin_middle, quantile
from lightning_gft.report.frame import Frame, chart, numbers_table, plane
from lightning_gft.report.markup import charts
from lightning_gft.report.rows import Weights, weights_row
from lightning_gft.report.runs import Run
from lightning_gft.report.scales import number
from lightning_gft.report.text import escape

_MOST_BARS = 40
_SIDES = ("after", "before")
"""Both sides of a histogram in drawing order: the line of one is drawn over the area of the other."""
_LEAST_SHARE = 1e-6

Counts = Mapping[int, float]


def histograms_section(runs: Sequence[Run]) -> str:
    """Return a chart for each run and source; empty if no weights were recorded."""
    inside = charts(*(made for run in runs for made in _of_run(run)))
    about = (
        "<p>Shares of trained tokens by their weight: 1/p before rectification, the loss's weight after it. Tokens of "
        "demonstrations further to the right have more influence; a bar far out on the right is an exploding gradient. "
        "Tokens of own samples are different: the policy samples each of them with its probability p, so one with "
        "p = 0.001 and 1/p = 1,000 is sampled once in 1,000 times. Their large weights are as rare as they are "
        "large.</p>"
    )
    return inside and f"{about}\n{inside}"


def _of_run(run: Run) -> Iterable[str]:
    rows = run.rows(WEIGHTS, weights_row)
    for source in dict.fromkeys(source for row in rows for source in row.before):
        counts = {side: _total(rows, side, source) for side in _SIDES}
        if counts["before"]:
            yield _histogram(f"Weights of {run.name}: {source}", counts)


def _total(rows: Iterable[Weights], side: str, source: str) -> Counter[int]:
    total: Counter[int] = Counter()
    for row in rows:
        total.update((row.before if side == "before" else row.after).get(source, {}))
    return total


def _histogram(title: str, counts: Mapping[str, Counts]) -> str:
    shown = {
        side: {place: count for place, count in of.items() if place > ZERO and count} for side, of in counts.items()
    }
    places = [place for of in shown.values() for place in of]
    if not places:
        return ""
    width = -(-(max(places) - min(places) + 1) // _MOST_BARS)
    bars = {side: _bars(of, width, sum(counts[side].values())) for side, of in shown.items()}
    edges = [bin_edges(place * width)[0] for of in bars.values() for place in of]
    ends = [bin_edges((place + 1) * width)[0] for of in bars.values() for place in of]
    shares = [share for of in bars.values() for share in of.values()]
    across, up = plane([*edges, *ends], shares, _SIDES, log_x=True, log_y=True)
    frame = Frame(across, up, "weight", "share of tokens")
    drawn = "".join(_outline(side, bars[side], width, frame) for side in _SIDES)
    tops = [(side, style, up(bars[side][max(bars[side])])) for style, side in enumerate(_SIDES) if bars[side]]
    rows = [[side, *_facts(counts[side])] for side in reversed(_SIDES)]
    return chart(
        title,
        frame.axes() + drawn + frame.labels(tops, _SIDES),
        about=_about(counts),
        description=f"{title}: {_about(counts)}",
        numbers=numbers_table(["", "median", "99%", "99.9%", "largest", "weight of 0"], rows),
    )


def _bars(counts: Counts, width: int, total: float) -> dict[int, float]:
    bars: dict[int, float] = {}
    for place, count in counts.items():
        bars[place // width] = bars.get(place // width, 0.0) + count
    return {place: count / total for place, count in sorted(bars.items())}


def _outline(side: str, bars: Mapping[int, float], width: int, frame: Frame) -> str:
    if not bars:
        return ""
    base = frame.y.start
    steps, last = "", None
    for place, share in bars.items():
        left, right = frame.x(bin_edges(place * width)[0]), frame.x(bin_edges((place + 1) * width)[0])
        height = max(frame.y.end, min(base, frame.y(max(share, _LEAST_SHARE))))
        if last is None or place != last + 1:
            steps += f"{'' if last is None else f'V{base:.1f}'}{'M' if last is None else 'H'}{left:.1f}"
            steps += f" {base:.1f}" if last is None else ""
        steps += f"V{height:.1f}H{right:.1f}"
        last = place
    shape = f'<path class="line shape" d="{steps}V{base:.1f}"><title>{escape(side)}</title></path>'
    return f'<g class="{side}">{shape}</g>'


def _about(counts: Mapping[str, Counts]) -> str:
    largest = {
        side: max((bin_middle(place) for place, count in of.items() if count), default=0.0)
        for side, of in counts.items()
    }
    zeros = counts["after"].get(ZERO, 0) / max(1, sum(counts["after"].values()))
    none = f", {zeros:.1%} have none" if zeros else ""
    return f"largest {number(largest['before'])} before, {number(largest['after'])} after{none}"


def _facts(counts: Counts) -> list[Any]:
    total = sum(counts.values())
    if not total:
        return [None] * 5
    largest = max(bin_middle(place) for place, count in counts.items() if count)
    return [*(quantile(counts, share) for share in (0.5, 0.99, 0.999)), largest, f"{counts.get(ZERO, 0) / total:.1%}"]
