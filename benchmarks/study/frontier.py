"""The picture of what accuracy costs: divergence from the base, and what is forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import matplotlib.patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.study import pictured
from benchmarks.study.drawing import INK, End, caption, name_ends, new_figure
from benchmarks.study.outcome import Outcome
from benchmarks.study.panels import line, root_axis

_HALO = [matplotlib.patheffects.withStroke(linewidth=3, foreground="white")]


def frontier(outcome: Outcome, variant: str) -> Figure:
    """Draw accuracy over what is lost: a line a method, from the base through its validations at the chosen rate.

    Hollow markers are the ends at the other learning rates of highlighted methods, on the seeds of tuning. Divergences
    have a square-root axis: methods that stay close to the base would otherwise lie on the axis.
    """
    forgotten = {pictured.lost(name): f"{title} lost" for name, title in pictured.beside(outcome).items()}
    costs = pictured.DIVERGENCES | forgotten
    figure, panels = new_figure(1, len(costs), 10.5, 4.6, share_y=True)
    ends: dict[Axes, list[End]] = {axes: [] for axes in panels}
    for axes, (cost, title) in zip(panels, costs.items(), strict=True):
        begins: list[float] = []
        for look, rows in pictured.methods(outcome, outcome.final, variant):
            chosen = pictured.averaged(rows, costs)
            line(axes, look, chosen.set_index(cost)["mean"])
            begins += chosen["mean"].head(1).to_list()
            ends[axes] += [End(look, *place) for place in chosen[[cost, "mean"]].tail(1).to_numpy()]
        for end in [*_other_rates(outcome, variant, costs, cost), *ends[axes]]:
            end.draw(axes)
        axes.margins(y=0.08)
        axes.set_title(title)
        if cost in forgotten:
            axes.set_xlabel("more forgotten →\nshare")
            axes.locator_params("x", nbins=5)
            axes.xaxis.set_major_formatter("{x:g}")
        else:
            axes.set_xlabel("further from the base →\nnats, square-root axis")
            root_axis(axes)
        if begins:
            _base(axes, sum(begins) / len(begins))
    panels[0].set_ylabel(f"accuracy of samples, mean@{outcome.samples}")
    _caption(figure, outcome, variant)
    name_ends(figure, {panels[-1]: ends[panels[-1]]})
    return figure


def _base(axes: Axes, accuracy: float) -> None:
    axes.plot(0, accuracy, marker="o", ms=9, color="white", mec=INK, mew=1.5, zorder=7)
    left, right = axes.get_xlim()
    side, alignment = (9, "left") if left + right > 0 else (-9, "right")  # where the panel has more room
    text = axes.annotate("base", (0, accuracy), (side, -11), textcoords="offset points", ha=alignment, zorder=8)
    text.set_path_effects(_HALO)


def _other_rates(outcome: Outcome, variant: str, costs: Iterable[str], cost: str) -> Iterator[End]:
    """Yield the ends of highlighted methods at the learning rates that were not chosen."""
    for look, rows in pictured.methods(outcome, outcome.tuning, variant):
        for value, of_rate in rows.groupby("learning_rate") if look.stands_out else ():
            if value != outcome.choices.get((variant, of_rate["method"].iloc[0])):
                for place in pictured.averaged(of_rate, costs)[[cost, "mean"]].tail(1).to_numpy():
                    yield End(look, *place, is_hollow=True)


def _caption(figure: Figure, outcome: Outcome, variant: str) -> None:
    final, tuning = (rows[rows["variant"] == variant] for rows in (outcome.final, outcome.tuning))
    hollow = f"Hollow: ends at the other learning rates, {pictured.seeds(tuning)}. " if len(tuning) else ""
    caption(
        figure,
        "A line is a method at the learning rate chosen for it, from the base to the end of training (marker): means "
        f"over {pictured.seeds(final)}. {hollow}{pictured.pale(outcome)}"
        f"{pictured.held_out(outcome, variant)} Few rare tokens decide a large KL(policy‖base).",
    )
