"""How far a method rises, and whether it had stopped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.study.statistics import Estimate, estimate

WINDOW = 3
"""Validations in a row that are averaged: one alone is lucky too often."""

LAST = 4
"""Validations at the end that say whether the curve still rises."""


@dataclass(frozen=True)
class Plateau:
    """The highest stretch of a method's curve.

    Args:
        height: Mean of the figure there.
        sequences: Sequences at the last validation of the stretch.
        gain: What the straight line through the last validations rises from the first of them to the last.
    """

    height: Estimate
    sequences: float
    gain: Estimate

    @property
    def trend(self) -> str:
        """Whether the curve ``"rises"`` or ``"falls"`` at its end, or ``"shows no rise"``: a gain in its interval."""
        if self.gain.is_none:
            return "shows no rise"
        return "rises" if self.gain.mean > 0 else "falls"


def find_plateau(rows: pd.DataFrame, figure: str = "mean") -> Plateau | None:
    """Return the stretch of validations whose mean over all seeds is highest; None if runs are too short.

    The stretch is chosen on the mean curve and is the same for all seeds: chosen seed by seed, it would pick up the
    luck of each.

    Args:
        rows: Validations of a method's finished runs.
        figure: Column of the figure.
    """
    curves = rows.pivot_table(index="step", columns="run", values=figure).sort_index()
    if len(curves) < max(WINDOW, LAST):
        return None
    stretches = curves.rolling(WINDOW).mean()
    best = stretches.mean(axis="columns").idxmax()
    last = curves.iloc[-LAST:]
    gains = np.polyfit(last.index, last.to_numpy(), 1)[0] * (last.index[-1] - last.index[0])
    places = rows.loc[rows["step"] == best, "sequences"]
    return Plateau(estimate(stretches.loc[best]), float(places.mean()), estimate(gains))
