"""The pictures of a plan: what accuracy costs, curves, learning rates, forgetting, and the ends under its variants."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.study import outcome as rows_of
from benchmarks.study import pictured
from benchmarks.study.drawing import STYLE, End, caption, legend, name_ends, new_figure, save
from benchmarks.study.forgetting import forgetting
from benchmarks.study.frontier import frontier
from benchmarks.study.looks import Look, looks_of
from benchmarks.study.markdown import rate
from benchmarks.study.outcome import Contestant, Outcome, begins_and_ends, tests, validations
from benchmarks.study.panels import DASHED, FEW, interval, line, points, within_shares
from benchmarks.study.statistics import Estimate, estimate

PAIRED = "Tables compare methods seed by seed: bars that overlap do not decide."


def save_all(outcome: Outcome, folder: Path) -> list[Path]:
    """Draw all pictures of a plan, each variant's for itself, and one of the ends under all variants.

    That of learning rates is drawn where some were tried, and that of forgetting where something is measured beside
    what is trained.

    Args:
        outcome: The plan's runs.
        folder: Where ``PLAN[-VARIANT]-PICTURE.png`` are written; a variant named as its plan is left out.
    """
    pictures: dict[str, Callable[[Outcome, str], Figure]] = {"frontier": frontier, "curves": curves}
    if pictured.beside(outcome):
        pictures["forgetting"] = forgetting
    if len(outcome.tuning):
        pictures["stability"] = stability
    with mpl.rc_context(STYLE):
        drawn = {
            _file_name(outcome.plan.name, variant, name): draw(outcome, variant)
            for variant in outcome.plan.variants
            for name, draw in pictures.items()
        }
        if len(outcome.plan.variants) > 1:
            drawn[_file_name(outcome.plan.name, "variants")] = variants(outcome)
        return [save(figure, folder / f"{name}.png") for name, figure in drawn.items()]


def _file_name(*parts: str) -> str:
    """Return parts of a name joined; a variant that is named as its plan is not repeated."""
    return "-".join(part.replace(" ", "_") for part in dict.fromkeys(parts) if part)


def curves(outcome: Outcome, variant: str) -> Figure:
    """Draw figures over sequences at the chosen learning rate; bars right of the lines are 95% intervals at the end.

    The divergence has a panel where one would otherwise be empty.
    """
    shown = {
        "mean": f"accuracy of samples, mean@{outcome.samples}",
        "greedy_accuracy": "greedy accuracy",
        **{name: pictured.measured(title, name, outcome.samples) for name, title in pictured.beside(outcome).items()},
        "entropy": "entropy of a token, nats",
        "kl_start": f"{pictured.DIVERGENCES['kl_start']}, nats",
    }
    shown = {name: title for name, title in shown.items() if outcome.measures(name)}
    if len(shown) % 2:
        shown.pop("kl_start", None)
    rows = math.ceil(len(shown) / 2)
    figure, panels = new_figure(rows, 2, 10.5, 3.3 * rows + 0.5)
    for axes in panels[len(shown) :]:
        axes.remove()
    final = outcome.final[outcome.final["variant"] == variant]
    ends = {}
    for axes, (name, title) in zip(panels, shown.items(), strict=False):
        lines = [
            (look, {step: estimate(of_step) for step, of_step in validations(rows).groupby("sequences")[name]})
            for look, rows in pictured.methods(outcome, final, variant)
        ]
        ends[axes] = _curves_of(axes, lines, is_share=name not in ("entropy", "kl_start"))
        axes.set_title(title)
        axes.set_xlabel("sequences")
    gaps = " Between markers nothing was measured." if validations(final)["sequences"].nunique() <= FEW else ""
    caption(
        figure,
        f"Lines: means over {pictured.seeds(final)}, each method at the learning rate chosen for it.{gaps} Bars at the "
        f"right: 95% intervals over seeds at the end. {PAIRED} {pictured.pale(outcome)}"
        f"{pictured.held_out(outcome, variant)}",
    )
    name_ends(figure, ends, joined=True)
    return figure


def _curves_of(axes: Axes, lines: Sequence[tuple[Look, dict[int, Estimate]]], is_share: bool) -> list[End]:
    """Draw lines through means by sequences, with the intervals at the end side by side; return the ends."""
    last = max((max(by_step, default=0) for _, by_step in lines), default=0)
    ends = []
    for look, by_step in lines:
        means = pd.Series({step: value.mean for step, value in by_step.items()}, dtype=float)
        line(axes, look, means)
        if look.stands_out and len(means):
            place = last * (1.045 + 0.035 * len(ends))
            interval(axes, look, place, by_step[means.index[-1]], bounded=is_share)
            ends.append(End(look, place, means.iloc[-1]))
    within_shares(axes, bounded=is_share)
    axes.set_xlim(0, max(last, 1) * (1.045 + 0.035 * len(ends)))
    measured = sorted({step for _, by_step in lines for step in by_step})
    round_ones = [tick for tick in mpl.ticker.MaxNLocator(4).tick_values(0, last) if tick <= last]
    axes.set_xticks(measured if len(measured) <= FEW else round_ones)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    return ends


def stability(outcome: Outcome, variant: str) -> Figure:
    """Draw what learning rates do: a line through the means of runs, a point a run, a cross for each that failed.

    Dashed lines are the base.
    """
    shown = {
        "mean": f"mean@{outcome.samples} at the end",
        **{name: f"{title} at the end" for name, title in pictured.beside(outcome).items()},
        "grad_norm_max": "largest gradient norm, log axis",
    }
    shown = {name: title for name, title in shown.items() if outcome.measures(name)}
    figure, panels = new_figure(1, len(shown), 10.5, 4.7)
    tuning = outcome.tuning[outcome.tuning["variant"] == variant]
    base = validations(tuning).query("step == 0")
    for axes, (name, title) in zip(panels, shown.items(), strict=True):
        axes.set_xscale("log")
        axes.set_xticks(outcome.plan.learning_rates, [rate(value) for value in outcome.plan.learning_rates])
        axes.set_xticks([], minor=True)
        for look, rows in pictured.methods(outcome, tuning, variant):
            runs = _of_runs(rows, name)
            means = runs.groupby("learning_rate")["value"].mean()
            axes.plot(means, color=look.colour, lw=look.width, zorder=look.layer)
            points(axes, look, runs["learning_rate"], runs["value"], 7 if look.stands_out else 4, alpha=0.8)
        if name in base and base[name].notna().any():
            axes.axhline(base[name].mean(), **DASHED)
        if name != "grad_norm_max":
            within_shares(axes)
        axes.set_title(title)
        axes.set_xlabel("learning rate, log axis")
        _failures(axes, outcome, variant)
    panels[-1].set_yscale("log")
    panels[-1].yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    panels[-1].yaxis.set_major_formatter("{x:g}")
    panels[-1].set_yticks([], minor=True)
    crosses = " Crosses: runs that failed." if (tuning["status"] == "failed").any() else ""
    caption(
        figure,
        f"A point is a run: {pictured.seeds(tuning)} at each learning rate, for choosing among them alone. Dashed: the "
        f"base.{crosses} {pictured.pale(outcome)}{pictured.held_out(outcome, variant)}",
    )
    legend(figure, looks_of(outcome.plan).values())
    return figure


def variants(outcome: Outcome) -> Figure:
    """Draw the test at the end under each variant: a point a method, with 95% intervals over seeds.

    Variants that differ in a number are joined by lines over a logarithmic axis. Dashed lines are the validation before
    training, on fewer samples.
    """
    test_k = outcome.test_samples
    shown = {
        "mean": f"accuracy of samples, mean@{test_k}",
        f"pass@{test_k}": f"solved in {test_k} samples, pass@{test_k}",
        **{name: pictured.measured(title, name, test_k) for name, title in pictured.beside(outcome).items()},
    }
    shown = {name: title for name, title in shown.items() if outcome.measures(name)}
    figure, panels = new_figure(1, len(shown), 10.5, 4.5)
    base = validations(outcome.final).query("step == 0")
    places, gap = _places(outcome), min(0.09, 0.6 / len(outcome.plan.methods))
    for axes, (figure_name, title) in zip(panels, shown.items(), strict=True):
        for number, (method, look) in enumerate(looks_of(outcome.plan).items()):
            found = [
                rows_of.seeds_mean(tests(rows_of.of(outcome.final, Contestant(name, method))), figure_name)
                for name in outcome.plan.variants
            ]
            beside = [place + gap * (number - (len(outcome.plan.methods) - 1) / 2) for place in places.x]
            for x, value in zip(beside, found, strict=True):
                interval(axes, look, x, value)
            if places.is_scale:
                axes.plot(beside, [value.mean for value in found], color=look.colour, lw=look.width, zorder=look.layer)
        if figure_name in base and base[figure_name].notna().any():
            by_variant = [base[base["variant"] == name].drop_duplicates("seed") for name in outcome.plan.variants]
            bases = [rows_of.seeds_mean(rows, figure_name).mean for rows in by_variant]
            if places.is_scale:
                axes.plot(places.x, bases, **DASHED)
            else:
                axes.hlines(bases, [x - 0.3 for x in places.x], [x + 0.3 for x in places.x], **DASHED)
        within_shares(axes)
        axes.set_title(title)
        axes.set_xticks(places.x, places.labels)
        axes.set_xlabel(places.title)
    first = next(iter(outcome.plan.variants))
    caption(
        figure,
        f"Test at the end of training: means over {pictured.seeds(outcome.final)} with 95% intervals, methods side by "
        f"side. {PAIRED} Dashed: the base. {pictured.held_out(outcome, first, at_the_end=True)}",
    )
    legend(figure, looks_of(outcome.plan).values(), has_lines=places.is_scale)
    return figure


class _Places(NamedTuple):
    """Where variants stand in a panel."""

    x: list[float]
    labels: list[str]
    title: str
    is_scale: bool


def _places(outcome: Outcome) -> _Places:
    """Return the places of variants: by their numbers in doublings where all have a number of the same things."""
    names = [name or outcome.plan.name for name in outcome.plan.variants]
    counted = [re.fullmatch(r"(\d+) (.+)", name) for name in names]
    things = {found[2] for found in counted if found}
    if all(counted) and len(things) == 1:
        numbers = [int(found[1]) for found in counted if found]
        return _Places([math.log2(n) for n in numbers], [f"{n:,}" for n in numbers], f"{things.pop()}, log axis", True)
    return _Places([float(place) for place in range(len(names))], names, "", False)


def _failures(axes: Axes, outcome: Outcome, variant: str) -> None:
    """Draw a cross at the bottom for each run that failed, those of one learning rate side by side."""
    failed_at: dict[float, int] = {}
    for look, rows in pictured.methods(outcome, outcome.tuning, variant):
        for value in rows[rows["status"] == "failed"].drop_duplicates("run")["learning_rate"]:
            x = value * 0.93 ** failed_at.setdefault(value, 0)
            failed_at[value] += 1
            axes.plot(x, 0.03, ls="", marker="x", mew=2, ms=8, color=look.colour, transform=axes.get_xaxis_transform())


def _of_runs(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return a figure of each run: the largest, of failed ones too, or the last validation's of those that finished."""
    largest = name.endswith("_max")
    if largest:
        by_run = rows.groupby("run")
        return pd.DataFrame({"learning_rate": by_run["learning_rate"].first(), "value": by_run[name].max()})
    ends = begins_and_ends(rows)[1]
    return pd.DataFrame({"learning_rate": ends["learning_rate"], "value": ends[name]})
