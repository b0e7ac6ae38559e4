"""What panels of several pictures share: limits of shares, an axis that spreads small values, intervals, points."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from benchmarks.study.drawing import INK
from benchmarks.study.looks import Look
from benchmarks.study.statistics import Estimate

LEAST_SPAN = 0.3
"""Smallest range of a panel of shares: on a closer scale the differences of single prompts would fill it."""

FEW = 5
"""With at most so many validations a line has markers at them: between two nothing was measured."""

DASHED: Any = {"color": INK, "lw": 1, "ls": (0, (5, 3)), "zorder": 1.9}
"""Lines of the base."""


def line(axes: Axes, look: Look, values: pd.Series) -> None:
    """Draw a method's line through its validations.

    Args:
        axes: The panel.
        look: How the method is drawn.
        values: Heights by place.
    """
    marker = {"marker": look.marker, "ms": 6, "mec": "white", "mew": 0.7} if len(values) <= FEW else {}
    axes.plot(values.index, values, color=look.colour, lw=look.width, zorder=look.layer, **marker)


def within_shares(axes: Axes, bounded: bool = True) -> None:
    """End a panel at 0 and, for a share, at 1; shares have at least three tenths of that range.

    Args:
        axes: The panel.
        bounded: Whether it shows shares.
    """
    lowest, highest = axes.get_ylim()
    highest = min(highest, 1.02) if bounded else highest
    lowest = max(-0.02, min(lowest, highest - LEAST_SPAN) if bounded else lowest)
    axes.set_ylim(lowest, max(highest, lowest + LEAST_SPAN) if bounded else highest)


def root_axis(axes: Axes) -> None:
    """Give a panel a square-root x axis: it begins at zero, and spreads what is close to it."""
    axes.set_xscale("function", functions=(_root, _square))
    highest = max(axes.get_xlim()[1], 1e-6)
    ticks = [float(f"{highest * share**2:.1g}") for share in (0.33, 0.6, 0.9)]
    axes.set_xlim(_square(-0.04 * _root(highest)), highest)
    axes.set_xticks([0, *ticks])
    axes.xaxis.set_major_formatter("{x:g}")


def interval(axes: Axes, look: Look, x: float, value: Estimate, bounded: bool = True) -> None:
    """Draw a mean with its interval, that of a share within 0 and 1.

    Args:
        axes: The panel.
        look: How the method is drawn.
        x: Place.
        value: The mean; without an interval it is drawn alone.
        bounded: Whether it is a share.
    """
    low, high = np.clip([value.low, value.high], 0, 1 if bounded else None)
    halves = np.nan_to_num([[value.mean - low], [high - value.mean]])
    bars = {"elinewidth": 1.4, "capsize": 3, "zorder": look.layer + 1}
    axes.errorbar(x, value.mean, halves, color=look.colour, marker=look.marker, ms=7, mec="white", mew=0.7, **bars)


def points(axes: Axes, look: Look, x: pd.Series, y: pd.Series, size: float, alpha: float) -> None:
    """Draw a method's points, those that lie on each other darker."""
    axes.plot(x, y, ls="", color=look.colour, marker=look.marker, ms=size, mew=0, alpha=alpha, zorder=look.layer)


def _root(values: ArrayLike) -> NDArray[np.float64]:
    given = np.asarray(values, dtype=float)
    return np.sign(given) * np.sqrt(np.abs(given))


def _square(values: ArrayLike) -> NDArray[np.float64]:
    given = np.asarray(values, dtype=float)
    return np.sign(given) * given**2
