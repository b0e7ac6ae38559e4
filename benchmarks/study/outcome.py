"""What a plan's runs came to, as tables and pictures ask for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.study.choice import choose
from benchmarks.study.plan import Choices, Plan, PlanError
from benchmarks.study.reading import read_plan
from benchmarks.study.results import Results
from benchmarks.study.statistics import Estimate, estimate


class Contestant(NamedTuple):
    """A method under a variant."""

    variant: str
    method: str


@dataclass(frozen=True)
class Outcome:
    """A plan with the rows of its runs.

    Args:
        plan: The plan.
        choices: Chosen learning rates.
        tuning: Rows of the runs that chose them.
        final: Rows of the runs that count.
        timed: Rows of the runs that say how long methods train.
    """

    plan: Plan
    choices: Choices
    tuning: pd.DataFrame
    final: pd.DataFrame
    timed: pd.DataFrame

    def contestants(self) -> Iterator[Contestant]:
        """Yield all methods under all variants, in the plan's order, whether they have runs or not."""
        for variant in self.plan.variants:
            for method in self.plan.methods:
                yield Contestant(variant, method)

    def name(self, contestant: Contestant) -> str:
        """Return a contestant's name in words."""
        method = self.plan.methods[contestant.method]
        return ", ".join(part for part in (contestant.variant, method.label or method.name) if part)

    @cached_property
    def clock(self) -> str:
        """The column of training seconds: the processor's on a CPU, where runs side by side slow each other down."""
        trainers = [layer.get("trainer", {}) for layer in (self.plan.base, *self.plan.variants.values())]
        accelerators = {trainer["accelerator"] for trainer in trainers if "accelerator" in trainer}
        return "processor_seconds" if accelerators == {"cpu"} else "seconds"

    def run_seconds(self, contestant: Contestant) -> Estimate:
        """Return the seconds of training that a method takes for a whole run."""
        last = validations(of(self.timed, contestant)).groupby("run").tail(1)
        return estimate(last[self.clock] / last["sequences"] * self.plan.length if len(last) else ())

    def trained_after(self, contestant: Contestant, seconds: float) -> float:
        """Return the sequences that a method has trained on after some seconds, on average over its timed runs."""
        runs = [run for _, run in validations(of(self.timed, contestant)).groupby("run")]
        found = [_at(run[self.clock].to_numpy(), run["sequences"].to_numpy(), seconds) for run in runs]
        return estimate(value for value in found if value is not None).mean

    @cached_property
    def test_samples(self) -> int:
        """Samples a prompt of the test at the end."""
        return _largest_k(self.final[self.final["split"] == "test"]) or self.plan.final_samples

    @cached_property
    def samples(self) -> int:
        """Samples a prompt of the validations."""
        rows = pd.concat([self.tuning, self.final])
        return _largest_k(rows[rows["split"] == "val"])

    def measures(self, figure: str) -> bool:
        """Return whether validations have a figure."""
        return any(figure in rows and rows[figure].notna().any() for rows in (self.tuning, self.final))


def read(plan: Plan, results: Results) -> Outcome:
    """Return what has come of a plan so far.

    Args:
        plan: The plan.
        results: All runs that have ended.

    Raises:
        PlanError: If no run has ended.
    """
    choices = choose(plan, results)
    final = results.of(plan.final(choices))
    timed = _timed(plan, results) if plan.times_of else final
    outcome = Outcome(plan, choices, results.of(plan.tuning()), final, timed)
    if outcome.tuning.empty and outcome.final.empty:
        raise PlanError(f"`{results.path}`: expected runs of {plan.name}, got none; run the plan first")
    return outcome


def _timed(plan: Plan, results: Results) -> pd.DataFrame:
    other = read_plan(plan.times_of)
    rows = results.of(other.final(choose(other, results)))
    if rows.empty:
        raise PlanError(f"`times_of`: expected runs of {other.name}, got none; run that plan first")
    return rows


def of(rows: pd.DataFrame, contestant: Contestant) -> pd.DataFrame:
    """Return a contestant's rows."""
    return rows[(rows["variant"] == contestant.variant) & (rows["method"] == contestant.method)]


def finished(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of runs that have finished."""
    return rows[rows["status"] == "finished"]


def tests(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the tests of finished runs, by seed."""
    found = finished(rows)
    return found[found["split"] == "test"].set_index("seed")


def validations(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the validations of finished runs, in the order of their steps."""
    found = finished(rows)
    return found[found["split"] == "val"].sort_values("step")


def begins_and_ends(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the first and the last validation of finished runs, by run."""
    by_run = validations(rows).groupby("run")
    return by_run.head(1).set_index("run"), by_run.tail(1).set_index("run")


def seeds_mean(rows: pd.DataFrame, figure: str) -> Estimate:
    """Return the mean of a figure over rows, one a seed; a figure that none of them has is no value."""
    return estimate(rows[figure] if figure in rows and rows[figure].notna().any() else ())


def reached(rows: pd.DataFrame, figure: str, budget: float) -> Estimate:
    """Return the mean over finished runs of a figure after a number of sequences.

    Args:
        rows: Rows of a contestant's runs.
        figure: Column of the figure.
        budget: Sequences. Between two validations the figure is on the straight line; past the last one it is kept
            for at most the distance to the one before; a run that ended earlier takes no part.
    """
    runs = [run for _, run in validations(rows).groupby("run")]
    values = [_at(run["sequences"].to_numpy(), run[figure].to_numpy(), budget) for run in runs]
    return estimate(value for value in values if value is not None)


def budgets(longest: float, shares: Iterable[float]) -> list[float]:
    """Return shares of the longest budget, to three digits: tables say exactly where figures were taken."""
    return [float(f"{longest * share:.3g}") for share in shares]


def _at(places: np.ndarray, heights: np.ndarray, budget: float) -> float | None:
    step = places[-1] - places[-2] if len(places) > 1 else 0.0
    return float(np.interp(budget, places, heights)) if budget <= places[-1] + step else None


def _largest_k(rows: pd.DataFrame) -> int:
    taken = rows.dropna(axis="columns", how="all").columns if len(rows) else ()
    return max((int(found[1]) for name in taken if (found := re.fullmatch(r"pass@(\d+)", name))), default=0)
