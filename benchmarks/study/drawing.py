"""How pictures look: names beside lines, a legend above, a caption below, files that come out the same."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.optimize import isotonic_regression

from benchmarks.study.looks import WELL_KNOWN, Look

LETTERS = 20
"""Letters of a name beside a panel before it wraps."""

LETTERS_PER_INCH = 13.6
"""Letters of a caption."""

INK = "#333333"

STYLE: Any = {
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": "#999999",
    "axes.labelcolor": INK,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#EDEDED",
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.solid_capstyle": "round",
    "figure.constrained_layout.w_pad": 0.08,
    "figure.constrained_layout.h_pad": 0.08,
}


@dataclass(frozen=True)
class End:
    """The end of a line, in the panel's units; a hollow one is small, and has no line."""

    look: Look
    x: float
    y: float
    is_hollow: bool = False

    def draw(self, axes: Axes) -> None:
        """Draw the method's marker there."""
        look = self.look
        style = {"ms": 5, "mfc": "none", "mew": 1.2} if self.is_hollow else {"ms": 9, "mec": "white"}
        layer = look.layer if self.is_hollow else look.layer + 1
        axes.plot(self.x, self.y, marker=look.marker, color=look.colour, zorder=layer, **style)


def new_figure(
    rows: int, columns: int, width: float, height: float, share_y: bool = False
) -> tuple[Figure, list[Axes]]:
    """Return a figure of a size in inches, with its panels, row by row."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, [*figure.subplots(rows, columns, squeeze=False, sharey=share_y).flat]


def name_ends(figure: Figure, ends: Mapping[Axes, Sequence[End]], joined: bool = False) -> None:
    """Write the names of lines right of panels, at the heights of their ends or, where those are close, apart.

    Args:
        figure: The figure, complete but for the names.
        ends: Ends of lines by panel; those of methods that do not stand out are left out.
        joined: Whether a line joins the panel's edge, at the height of an end, with its name.
    """
    figure.draw_without_rendering()  # now panels have their sizes and limits
    for axes, of_panel in ends.items():
        _name_ends(axes, [end for end in of_panel if end.look.stands_out], joined)


def legend(figure: Figure, looks: Iterable[Look], has_lines: bool = True) -> None:
    """Write the names of methods over all panels, each with its marker; the pale ones share names, at the end.

    Args:
        figure: The figure.
        looks: How methods are drawn.
        has_lines: Whether methods have lines, not points alone.
    """
    places = {look: place for place, look in enumerate(WELL_KNOWN.values())}
    shown = sorted(dict.fromkeys(looks), key=lambda look: (not look.stands_out, places.get(look, len(places))))
    drawn = {"lw": 2 if has_lines else 0}
    handles = [Line2D([], [], color=look.colour, marker=look.marker, ms=7, label=look.name, **drawn) for look in shown]
    rows = math.ceil(sum(len(look.name) + 4 for look in shown) / 110)
    columns = math.ceil(len(shown) / rows)
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, frameon=False, columnspacing=1.4)


def caption(figure: Figure, text: str) -> None:
    """Write below all panels what the picture shows, so that it can stand alone."""
    letters = int(figure.get_figwidth() * LETTERS_PER_INCH)
    figure.supxlabel(
        textwrap.fill(text, letters, break_on_hyphens=False),
        x=0.01,
        ha="left",
        size=9.5,
        color="#666666",
        linespacing=1.3,
    )


def save(figure: Figure, path: Path) -> Path:
    """Write a picture; the same picture is the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, metadata={"Software": None})
    return path


def apart(heights: Sequence[float], sizes: Sequence[float]) -> list[float]:
    """Return middles of texts, moved as little as keeps them apart and between 0 and 1.

    Args:
        heights: Where the middles belong, in rising order.
        sizes: Heights of the texts.

    Example:
        >>> [round(height, 2) for height in apart([0.2, 0.2, 0.5, 1.0, 1.0], [0.1] * 5)]
        [0.15, 0.25, 0.5, 0.9, 1.0]
    """
    if not heights:
        return []
    halves = np.asarray(sizes) / 2
    steps = np.concatenate([[0], np.cumsum(halves[:-1] + halves[1:])])
    kept = isotonic_regression(np.asarray(heights) - steps).x
    return [float(height) for height in np.clip(kept, 0, max(0.0, 1 - steps[-1])) + steps]


def _name_ends(axes: Axes, ends: Sequence[End], joined: bool) -> None:
    named = sorted(ends, key=lambda end: end.y)
    texts = [textwrap.fill(end.look.name, LETTERS) for end in named]
    points = axes.get_window_extent().height / axes.figure.dpi * 72
    scale = axes.transData + axes.transAxes.inverted()
    places = [float(scale.transform((end.x, end.y))[1]) for end in named]
    sizes = [(2 + 13 * len(text.splitlines())) / points for text in texts]
    beside = []
    for end, text, y, height in zip(named, texts, places, apart(places, sizes), strict=True):
        look = end.look
        if joined:
            beside.append(Line2D([1, 1.06], [y, height], lw=0.8, color=look.colour))
        beside.append(Line2D([1.06], [height], marker=look.marker, ms=7, mew=0, color=look.colour))
        axes.text(1.1, height, text, color=look.colour, va="center", transform=axes.transAxes, linespacing=1)
    for line in beside:  # not by `plot`, which would widen the panel's limits
        line.set(transform=axes.transAxes, clip_on=False)
        axes.add_artist(line)
