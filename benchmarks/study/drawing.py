"""How pictures look: colours that colour-blind readers tell apart, names beside lines, files that come out the same."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.optimize import isotonic_regression

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, without the yellow, which is too pale for lines on white."""

MARKERS = "osD^vPX"

LETTERS = 20
"""Letters of a name beside a panel before it wraps."""

GREY = "#C4C4C4"
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
class Look:
    """How a method is drawn.

    Args:
        name: Its name; empty for one that is not named.
        colour: Of lines and points.
        marker: Of points and ends of lines.
    """

    name: str = ""
    colour: str = GREY
    marker: str = "."

    @property
    def layer(self) -> int:
        """Named methods lie over the others."""
        return 4 if self.name else 2

    @property
    def width(self) -> float:
        """Width in points; named methods stand out."""
        return 2.2 if self.name else 1.4


@dataclass(frozen=True)
class End:
    """The end of a line, in the panel's units."""

    look: Look
    x: float
    y: float

    def draw(self, axes: Axes) -> None:
        """Draw the method's marker there."""
        look = self.look
        axes.plot(self.x, self.y, marker=look.marker, ms=9, color=look.colour, mec="white", zorder=look.layer + 1)


def new_figure(
    rows: int, columns: int, width: float, height: float, share_y: bool = False
) -> tuple[Figure, list[Axes]]:
    """Return a figure of a size in inches, with its panels, row by row."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, [*figure.subplots(rows, columns, squeeze=False, sharey=share_y).flat]


def name_ends(figure: Figure, ends: Mapping[Axes, Sequence[End]]) -> None:
    """Write the names of lines right of panels, at the heights of their ends or, where those are close, apart.

    Args:
        figure: The figure, complete but for the names.
        ends: Ends of lines by panel; those without a name are left out. One at the panel's edge is joined with its
            name.
    """
    figure.draw_without_rendering()  # now panels have their sizes and limits
    for axes, of_panel in ends.items():
        _name_ends(axes, of_panel)


def legend(figure: Figure, looks: Mapping[str, Look]) -> None:
    """Write the names of methods over all panels, each with its marker; the grey ones share a name."""
    shown = [look for look in looks.values() if look.name]
    if len(shown) < len(looks):
        shown.append(Look("others"))
    handles = [Line2D([], [], color=look.colour, marker=look.marker, lw=2, ms=7, label=look.name) for look in shown]
    rows = math.ceil(sum(len(look.name) + 4 for look in shown) / 100)
    columns = math.ceil(len(shown) / rows)
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, frameon=False, columnspacing=1.4)


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


def _name_ends(axes: Axes, ends: Sequence[End]) -> None:
    named = sorted((end for end in ends if end.look.name), key=lambda end: end.y)
    texts = [textwrap.fill(end.look.name, LETTERS) for end in named]
    points = axes.get_window_extent().height / axes.figure.dpi * 72
    scale = axes.transData + axes.transAxes.inverted()
    places = [scale.transform((end.x, end.y)) for end in named]
    sizes = [(2 + 13 * len(text.splitlines())) / points for text in texts]
    beside = []
    for end, text, (x, y), height in zip(named, texts, places, apart([y for _, y in places], sizes), strict=True):
        look = end.look
        if x > 0.99:
            beside.append(Line2D([1, 1.06], [y, height], lw=0.8, color=look.colour))
        beside.append(Line2D([1.06], [height], marker=look.marker, ms=7, mec="white", color=look.colour))
        axes.text(1.1, height, text, color=look.colour, va="center", transform=axes.transAxes, linespacing=1)
    for line in beside:  # not by `plot`, which would widen the panel's limits
        line.set(transform=axes.transAxes, clip_on=False)
        axes.add_artist(line)
