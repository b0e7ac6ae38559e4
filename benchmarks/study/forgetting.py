"""The picture of what is forgotten against the divergence from the base."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from benchmarks.study import pictured
from benchmarks.study.drawing import INK, caption, legend, new_figure
from benchmarks.study.looks import looks_of
from benchmarks.study.outcome import Outcome, validations
from benchmarks.study.panels import points
from benchmarks.study.statistics import explained, rising_curve


def forgetting(outcome: Outcome, variant: str) -> Figure:
    """Draw what is lost beside what is trained over both divergences: a point a validation, of all methods and rates.

    A line goes through the steps of the curve that never falls and is nearest to a method's points, the dashed one
    nearest to all points. R² says how much of the variance that one curve explains, and how much one for each method.
    """
    beside = pictured.beside(outcome)
    figure, panels = new_figure(len(beside), 2, 10.5, 5.0 * len(beside), share_y=True)
    final, tuning = (rows[rows["variant"] == variant] for rows in (outcome.final, outcome.tuning))
    rows = pd.concat([tuning, final])
    measured = pictured.with_lost(validations(rows), [pictured.lost(name) for name in beside]).query("step > 0")
    places = [(name, cost) for name in beside for cost in pictured.DIVERGENCES]
    for axes, (name, cost) in zip(panels, places, strict=True):
        lost = pictured.lost(name)
        for look, of_method in pictured.methods(outcome, measured, variant):
            points(axes, look, of_method[cost], of_method[lost], 4, alpha=0.4)
            _curve(axes, of_method[cost], of_method[lost], color=look.colour, lw=look.width, zorder=look.layer + 1)
        _curve(axes, measured[cost], measured[lost], color=INK, lw=2, ls=(0, (4, 2)), zorder=7)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xticks([], minor=True)
        one = explained(measured[cost], measured[lost])
        several = explained(measured[cost], measured[lost], measured["method"])
        title = pictured.DIVERGENCES[cost]
        axes.set_title(f"{title}\nR² of one curve {one:.2f}, of a curve for each method {several:.2f}")
        axes.set_xlabel("nats, log axis; further from the base →")
        if cost == "kl":
            axes.set_ylabel(f"{beside[name]} lost, share")
    others = f" and {pictured.seeds(tuning)} at the others" if len(tuning) else ""
    caption(
        figure,
        f"A point is a validation of a run: all methods, {pictured.seeds(final)} at the "
        f"chosen rate{others}. Lines are the rising curves nearest to each method's points, the dashed one "
        f"to all points. {pictured.held_out(outcome, variant)}",
    )
    legend(figure, looks_of(outcome.plan).values())
    return figure


def _curve(axes: Axes, x: pd.Series, y: pd.Series, **drawn: object) -> None:
    steps = x.groupby(rising_curve(x, y)).median()
    axes.plot(steps, steps.index, **drawn)
