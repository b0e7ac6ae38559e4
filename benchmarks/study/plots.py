"""The pictures of a plan: what accuracy costs, curves, learning rates, forgetting, and the ends under its variants."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.study import outcome as rows_of
from benchmarks.study.drawing import COLOURS, INK, MARKERS, STYLE, End, Look, legend, name_ends, new_figure, save
from benchmarks.study.markdown import rate
from benchmarks.study.outcome import Contestant, Outcome, begins_and_ends, tests, validations
from benchmarks.study.statistics import estimate, explained, rising_curve

DIVERGENCES = {"kl": "KL(policy‖base)", "kl_start": "KL(base‖policy)"}


def save_all(outcome: Outcome, folder: Path) -> list[Path]:
    """Draw all pictures of a plan, each variant's for itself, and one of the ends under all variants.

    That of learning rates is drawn where some were tried, and that of forgetting where something is measured beside
    what is trained.

    Args:
        outcome: The plan's runs.
        folder: Where ``PLAN[-VARIANT]-PICTURE.png`` are written; a variant named as its plan is left out.
    """
    pictures: dict[str, Callable[[Outcome, str], Figure]] = {"frontier": frontier, "curves": curves}
    if _beside(outcome):
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


def frontier(outcome: Outcome, variant: str) -> Figure:
    """Draw accuracy over what is lost: a line a method, from the base through its validations at the chosen rate.

    Thin lines are the other learning rates of highlighted methods, on the seeds of tuning. They may leave the panel:
    the chosen rates set its limits.
    """
    further = {cost: (title, "further from the base →") for cost, title in DIVERGENCES.items()}
    forgotten = {_lost(name): (f"{title} lost", "more forgotten →") for name, title in _beside(outcome).items()}
    costs = further | forgotten
    figure, panels = new_figure(1, len(costs), 10.5, 4.2, share_y=True)
    ends: dict[Axes, list[End]] = {axes: [] for axes in panels}
    for axes, (cost, (title, direction)) in zip(panels, costs.items(), strict=True):
        begins: list[float] = []
        for look, rows in _methods(outcome, outcome.final, variant):
            chosen = _averaged(rows, costs)
            axes.plot(chosen[cost], chosen["mean"], color=look.colour, lw=look.width, zorder=look.layer)
            begins += chosen["mean"].head(1).to_list()
            ends[axes] += [End(look, *place) for place in chosen[[cost, "mean"]].tail(1).to_numpy()]
        for end in ends[axes]:
            end.draw(axes)
        if begins:
            axes.plot(0, sum(begins) / len(begins), marker="o", ms=9, color="white", mec=INK, mew=1.5, zorder=7)
            axes.annotate("base", (0, sum(begins) / len(begins)), (9, -5), textcoords="offset points")
        _other_rates(axes, outcome, variant, costs, cost)
        axes.set_title(title)
        axes.set_xlabel(direction)
        axes.locator_params("x", nbins=4)
        axes.xaxis.set_major_formatter("{x:g}")
    panels[0].set_ylabel(f"accuracy of samples, mean@{outcome.samples}")
    name_ends(figure, {panels[-1]: ends[panels[-1]]})
    return figure


def curves(outcome: Outcome, variant: str) -> Figure:
    """Draw figures over sequences at the chosen learning rate, with 95% intervals over seeds."""
    shown = {
        "mean": f"accuracy of samples, mean@{outcome.samples}",
        "greedy_accuracy": "greedy accuracy",
        **_beside(outcome),
        "entropy": "entropy of a token",
    }
    shown = {name: title for name, title in shown.items() if outcome.measures(name)}
    rows = math.ceil(len(shown) / 2)
    figure, panels = new_figure(rows, 2, 10.5, 3.3 * rows)
    for axes in panels[len(shown) :]:
        axes.remove()
    ends: dict[Axes, list[End]] = {axes: [] for axes in panels[: len(shown)]}
    for axes, (name, title) in zip(ends, shown.items(), strict=True):
        for look, of_method in _methods(outcome, outcome.final, variant):
            by_step = {step: estimate(values) for step, values in validations(of_method).groupby("sequences")[name]}
            means = pd.Series({step: value.mean for step, value in by_step.items()}, dtype=float)
            axes.plot(means, color=look.colour, lw=look.width, zorder=look.layer)
            if look.name and len(means):
                ends[axes].append(End(look, means.index[-1], means.iloc[-1]))
                edges = [value.low for value in by_step.values()], [value.high for value in by_step.values()]
                axes.fill_between(means.index, *edges, color=look.colour, alpha=0.15, lw=0, zorder=look.layer - 1)
        axes.set_title(title)
        axes.margins(x=0)
        _within_shares(axes, bounded=name != "entropy")
        axes.locator_params("x", nbins=5)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlabel("sequences")
    name_ends(figure, ends)
    return figure


def stability(outcome: Outcome, variant: str) -> Figure:
    """Draw what learning rates do: a line through the means of runs, a point a run, a cross for each that failed.

    Dashed lines are the base.
    """
    shown = {
        "mean": f"mean@{outcome.samples} at the end",
        **{name: f"{title} at the end" for name, title in _beside(outcome).items()},
        "grad_norm_max": "largest gradient norm",
    }
    shown = {name: title for name, title in shown.items() if outcome.measures(name)}
    figure, panels = new_figure(1, len(shown), 10.5, 4.2)
    base = validations(outcome.tuning[outcome.tuning["variant"] == variant]).query("step == 0")
    for axes, (name, title) in zip(panels, shown.items(), strict=True):
        axes.set_xscale("log")
        axes.set_xticks(outcome.plan.learning_rates, [rate(value) for value in outcome.plan.learning_rates])
        axes.set_xticks([], minor=True)
        for look, rows in _methods(outcome, outcome.tuning, variant):
            runs = _of_runs(rows, name)
            axes.plot(
                runs.groupby("learning_rate")["value"].mean(), color=look.colour, lw=look.width, zorder=look.layer
            )
            _points(axes, look, runs["learning_rate"], runs["value"], 5)
        if name in base and base[name].notna().any():
            axes.axhline(base[name].mean(), color=INK, lw=1, ls=(0, (5, 3)), zorder=1.9)
        axes.set_title(title)
        axes.set_xlabel("learning rate")
        _failures(axes, outcome, variant)
    panels[-1].set_yscale("log")
    panels[-1].yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    panels[-1].yaxis.set_major_formatter("{x:g}")
    panels[-1].set_yticks([], minor=True)
    legend(figure, _looks(outcome))
    return figure


def forgetting(outcome: Outcome, variant: str) -> Figure:
    """Draw what is lost beside what is trained over both divergences: a point a validation, of all methods and rates.

    The line goes through the steps of the curve that never falls and is nearest to all points. R² says how much of the
    variance that curve explains, and how much a curve for each method does.
    """
    beside = _beside(outcome)
    figure, panels = new_figure(len(beside), 2, 10.5, 4.6 * len(beside), share_y=True)
    rows = pd.concat([outcome.tuning, outcome.final])
    points = _with_lost(validations(rows[rows["variant"] == variant]), [_lost(name) for name in beside])
    points = points.query("step > 0")
    places = [(name, cost) for name in beside for cost in DIVERGENCES]
    for axes, (name, cost) in zip(panels, places, strict=True):
        x, y = points[cost], points[_lost(name)]
        for look, of_method in _methods(outcome, points, variant):
            _points(axes, look, of_method[cost], of_method[_lost(name)], 4.5)
        steps = x.groupby(rising_curve(x, y)).median()
        axes.plot(steps, steps.index, color=INK, lw=1.5, zorder=6)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        one, several = explained(x, y), explained(x, y, points["method"])
        axes.set_title(f"{DIVERGENCES[cost]}\nR² of one curve {one:.2f}, of a curve for each method {several:.2f}")
        axes.set_xlabel("further from the base →")
        if cost == "kl":
            axes.set_ylabel(f"{beside[name]} lost")
    legend(figure, _looks(outcome))
    return figure


def variants(outcome: Outcome) -> Figure:
    """Draw the test at the end under each variant: a line a method, with 95% intervals over seeds.

    Dashed lines are the validation before training, on fewer samples.
    """
    test_k = outcome.test_samples
    shown = {
        "mean": f"accuracy of samples, mean@{test_k}",
        f"pass@{test_k}": f"solved in {test_k} samples, pass@{test_k}",
        **_beside(outcome),
    }
    shown = {name: title for name, title in shown.items() if outcome.measures(name)}
    figure, panels = new_figure(1, len(shown), 12.5, 4.2)
    base = validations(outcome.final).query("step == 0")
    labels = [name or outcome.plan.name for name in outcome.plan.variants]
    for axes, (figure_name, title) in zip(panels, shown.items(), strict=True):
        for method, look in _looks(outcome).items():
            found = [
                rows_of.seeds_mean(tests(rows_of.of(outcome.final, Contestant(name, method))), figure_name)
                for name in outcome.plan.variants
            ]
            means, halves = [value.mean for value in found], [value.half for value in found]
            bars = {"elinewidth": 1, "capsize": 3, "zorder": look.layer}
            drawn = {"color": look.colour, "marker": look.marker, "lw": look.width, "ms": 8, "mec": "white"}
            axes.errorbar(labels, means, halves, **bars, **drawn)
        if figure_name in base:
            by_variant = [base[base["variant"] == name].drop_duplicates("seed") for name in outcome.plan.variants]
            bases = [rows_of.seeds_mean(rows, figure_name).mean for rows in by_variant]
            axes.plot(labels, bases, color=INK, lw=1, ls=(0, (5, 3)), zorder=1.9)
        _within_shares(axes)
        axes.set_title(title)
        axes.tick_params("x", labelsize=9)
    legend(figure, _looks(outcome))
    return figure


def _within_shares(axes: Axes, bounded: bool = True) -> None:
    """End a panel at 0 and, for a share, at 1: an interval of few seeds may leave the range that the figure has."""
    lowest, highest = axes.get_ylim()
    axes.set_ylim(max(lowest, -0.02), min(highest, 1.02) if bounded else highest)


def _beside(outcome: Outcome) -> dict[str, str]:
    """Return what was measured beside what is trained: titles by figure."""
    return {name: title for title, name in outcome.plan.beside.items() if outcome.measures(name)}


def _lost(figure: str) -> str:
    """Return the column of what a figure has lost since before training."""
    return f"{figure} lost"


def _averaged(rows: pd.DataFrame, costs: Iterable[str]) -> pd.DataFrame:
    """Return the validations of a method at one learning rate, averaged over the seeds that have finished."""
    return _with_lost(validations(rows), costs).groupby("step")[["mean", *costs]].mean()


def _with_lost(rows: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """Return validations with those of the columns that say what a figure has lost since the first of its run."""
    figures = [name for name in rows if _lost(name) in columns]
    lost = {_lost(name): rows.groupby("run")[name].transform("first") - rows[name] for name in figures}
    return rows.assign(**lost)


def _looks(outcome: Outcome) -> dict[str, Look]:
    """Return how methods are drawn: those that the plan highlights in colours and with names, the others in grey."""
    colours = dict(zip(outcome.plan.highlighted, zip(COLOURS, MARKERS, strict=True), strict=False))
    return {
        name: Look(method.label or name, *colours[name]) if name in colours else Look()
        for name, method in outcome.plan.methods.items()
    }


def _methods(outcome: Outcome, rows: pd.DataFrame, variant: str) -> Iterator[tuple[Look, pd.DataFrame]]:
    """Yield how each method of a variant is drawn, with its rows."""
    for method, look in _looks(outcome).items():
        yield look, rows_of.of(rows, Contestant(variant, method))


def _other_rates(axes: Axes, outcome: Outcome, variant: str, costs: Iterable[str], cost: str) -> None:
    limits = axes.axis()
    for look, rows in _methods(outcome, outcome.tuning, variant):
        for value, of_rate in rows.groupby("learning_rate") if look.name else ():
            if value != outcome.choices.get((variant, of_rate["method"].iloc[0])):
                other = _averaged(of_rate, costs)
                axes.plot(other[cost], other["mean"], color=look.colour, lw=0.9, alpha=0.4, zorder=look.layer - 1)
    axes.axis(limits)


def _points(axes: Axes, look: Look, x: pd.Series, y: pd.Series, size: float) -> None:
    axes.plot(x, y, ls="", color=look.colour, marker=look.marker, ms=size, mew=0, alpha=0.65, zorder=look.layer)


def _failures(axes: Axes, outcome: Outcome, variant: str) -> None:
    """Draw a cross at the bottom for each run that failed, those of one learning rate side by side."""
    failed_at: dict[float, int] = {}
    for look, rows in _methods(outcome, outcome.tuning, variant):
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
