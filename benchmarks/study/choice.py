"""One rule that chooses a learning rate for each method."""

from __future__ import annotations

import pandas as pd

from benchmarks.study.plan import Choices, Plan
from benchmarks.study.reading import read_plan
from benchmarks.study.results import Results


def choose(plan: Plan, results: Results) -> Choices:
    """Return the learning rate whose last validation is best, on average over the seeds of tuning.

    A single rate, and one that a method has for itself, is taken as it is.

    A rate counts when all of its runs have ended; one with a run that failed is not chosen. A method is chosen for when
    all of its rates have ended.

    Args:
        plan: The plan, or the one whose choices it takes.
        results: All runs that have ended.
    """
    given = {
        (variant, method.name): method.learning_rate
        for variant in plan.variants
        for method in plan.methods.values()
        if method.learning_rate is not None
    }
    return {**_chosen(plan, results), **given}


def _chosen(plan: Plan, results: Results) -> Choices:
    if plan.choice_of:
        chosen = choose(read_plan(plan.choice_of), results)
        return {
            (variant, name): chosen[own]
            for variant in plan.variants
            for name in plan.methods
            if (own := _own(chosen, variant, name)) is not None
        }
    if len(plan.learning_rates) == 1:
        return {(variant, name): plan.learning_rates[0] for variant in plan.variants for name in plan.methods}
    rows = results.of(plan.tuning())
    last = rows[rows["split"] == "val"].sort_values("step").groupby("run").tail(1)
    wanted = len(plan.learning_rates) * len(plan.tuning_seeds)
    choices = {}
    for key, of_method in last.groupby(["variant", "method"]):
        if len(of_method) == wanted:
            choices[key] = _best(of_method, plan.choose_by)
    return {key: rate for key, rate in choices.items() if rate is not None}


def _own(chosen: Choices, variant: str, method: str) -> tuple[str, str] | None:
    """Return the key of a method's choice: that of the same variant, or that of the plan without variants."""
    return next((key for key in ((variant, method), ("", method)) if key in chosen), None)


def _best(runs: pd.DataFrame, figure: str) -> float | None:
    whole = runs.groupby("learning_rate").filter(lambda of: bool((of["status"] == "finished").all()))
    return None if whole.empty else float(whole.groupby("learning_rate")[figure].mean().idxmax())
