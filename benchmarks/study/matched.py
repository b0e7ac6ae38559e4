"""Two methods where they are equally accurate: the end of training compares what they gain, this what that costs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.study.outcome import validations


def matched(rows: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Return both methods' validations at the highest accuracy that both reach, seed by seed.

    That accuracy is the maximum of a noisy curve: the less accurate method is taken at its luckiest validation.

    Args:
        rows: Rows of a method's runs.
        other: Rows of another's.

    Returns:
        By seed that both have, each numeric column twice, as ``("own", column)`` and ``("other", column)``. Values are
        those where a curve first reaches the accuracy, on the straight line between two validations. The column
        ``"is_early"`` is true where that lies between the base and the first validation, so that nothing was measured
        near it.
    """
    curves = [_by_seed(validations(given)) for given in (rows, other)]
    seeds = [seed for seed in curves[0] if seed in curves[1]]
    found = {}
    for seed in seeds:
        own, theirs = curves[0][seed], curves[1][seed]
        level = min(own["mean"].max(), theirs["mean"].max())
        pair = {"own": _first(own, level), "other": _first(theirs, level)}
        found[seed] = pd.concat(pair)
    return pd.DataFrame.from_dict(found, orient="index")


def _by_seed(rows: pd.DataFrame) -> dict[int, pd.DataFrame]:
    """Return each seed's validations, of their numbers alone."""
    measured = rows.select_dtypes("number").dropna(axis="columns", how="all").columns
    return dict(iter(rows[["seed", *measured.difference(["seed"])]].groupby("seed")))


def _first(curve: pd.DataFrame, level: float) -> pd.Series:
    """Return the figures where a curve first reaches a level that it does reach."""
    heights = curve["mean"].to_numpy()
    after = int(np.argmax(heights >= level))
    if after == 0:
        return pd.concat([curve.iloc[0], pd.Series({"is_early": False})])
    share = (level - heights[after - 1]) / (heights[after] - heights[after - 1])
    figures = curve.iloc[after - 1] * (1 - share) + curve.iloc[after] * share
    return pd.concat([figures, pd.Series({"is_early": after == 1 and share < 1})])
