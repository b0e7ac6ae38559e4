"""The cost of accuracy: paths of runs over accuracy, distance from the start and accuracy on other data."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_gft.report.charts import Track, track_chart
from lightning_gft.report.markup import charts
from lightning_gft.report.measures import key
from lightning_gft.report.runs import Run

_ABOUT = "hollow: first validation, full: last"


def tradeoffs_section(runs: Sequence[Run]) -> str:
    """Return charts of accuracy against KL and against each other data set."""
    made = [
        _against(runs, "Accuracy against KL(policy‖base)", "KL(policy‖base)", key("kl")),
        _against(runs, "Accuracy against KL(base‖policy)", "KL(base‖policy)", key("kl_start")),
    ]
    for name in dict.fromkeys(name for run in runs for name in run.datasets):
        made.append(_against(runs, f"Accuracy against {name}", f"accuracy on {name}", key("greedy_accuracy", name)))
    about = "<p>Best is up and to the left for KL (in nats per token), up and to the right for other data.</p>"
    inside = charts(*made)
    return inside and f"{about}\n{inside}"


def _against(runs: Sequence[Run], title: str, x_title: str, x: str) -> str:
    y = "greedy accuracy"
    tracks = [Track(run.name, style, _path(run, x, key("greedy_accuracy"))) for style, run in enumerate(runs)]
    return track_chart(title, tracks, about=_ABOUT, x=x_title, y=y)


def _path(run: Run, x: str, y: str) -> list[tuple[float, float, float]]:
    xs, ys = dict(run.series(x)), dict(run.series(y))
    return [(step, xs[step], ys[step]) for step in sorted(xs.keys() & ys.keys())]
