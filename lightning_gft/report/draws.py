"""Charts of pass@k over k: the gain from more samples."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lightning_gft.report.charts import LEAST_SPAN, Line, line_chart
from lightning_gft.report.markup import charts
from lightning_gft.report.measures import NOISE, errors, key
from lightning_gft.report.runs import Run

_ABOUT = "last validation of each run, and faint its first"
_PASS = re.compile(r"pass@(\d+)")


def draws_section(runs: Sequence[Run]) -> str:
    """Return a chart per data set, with a line for the first and the last evaluation of each run."""
    names = ["", *dict.fromkeys(name for run in runs for name in run.datasets)]
    inside = charts(*(_chart(runs, name) for name in names))
    about = (
        "<p>Share of prompts for which at least one of k samples is right. A policy that is more certain, but knows "
        "less, is higher on the left and lower on the right.</p>"
    )
    return inside and f"{about}\n{inside}"


def _chart(runs: Sequence[Run], dataset: str) -> str:
    lines: list[Line] = []
    for style, run in enumerate(runs):
        figures = _figures(run, dataset)
        steps = sorted({step for of in figures.values() for step, _ in run.series(key(of, dataset))})
        for step in dict.fromkeys([*steps[:1], *steps[-1:]]):
            is_first = step != steps[-1]
            points = [
                (k, value)
                for k, of in figures.items()
                if (value := dict(run.series(key(of, dataset))).get(step)) is not None
            ]
            margins: dict[int, float] = {
                k: NOISE * error for k, of in figures.items() if (error := errors(run, of, dataset).get(step))
            }
            label = f"{run.name} at {step}" if is_first else run.name
            lines.append(Line(label, style, points, margins, faint=is_first))
    title = f"pass@k on {dataset}" if dataset else "pass@k"
    shaded = "; shaded: 95% interval" if any(line.margins for line in lines) else ""
    many = any(len(line.points) > 1 for line in lines)
    return line_chart(title, lines, about=_ABOUT + shaded, x="k", doubling=True, span=LEAST_SPAN) if many else ""


def _figures(run: Run, dataset: str) -> dict[int, str]:
    """Return the names of the measured figures by number of samples; for a single one it is the mean."""
    of = key("", dataset)
    names = [name.removeprefix(f"{of}/") for name in run.figures if name.startswith(f"{of}/")]
    found = {int(match[1]): name for name in names if (match := _PASS.fullmatch(name))}
    if found:
        found[1] = f"mean@{max(found)}"
    return dict(sorted(found.items()))
