"""What pictures take from a plan's outcome: rows by method, losses since the base, and words for captions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pandas as pd

from benchmarks.study import outcome as rows_of
from benchmarks.study.looks import PALE, Look, looks_of
from benchmarks.study.outcome import Contestant, Outcome, validations

DIVERGENCES = {"kl": "KL(policy‖base)", "kl_start": "KL(base‖policy)"}


def methods(outcome: Outcome, rows: pd.DataFrame, variant: str) -> Iterator[tuple[Look, pd.DataFrame]]:
    """Yield how each method of a variant is drawn, with its rows."""
    for method, look in looks_of(outcome.plan).items():
        yield look, rows_of.of(rows, Contestant(variant, method))


def beside(outcome: Outcome) -> dict[str, str]:
    """Return what was measured beside what is trained: titles by figure."""
    return {name: title for title, name in outcome.plan.beside.items() if outcome.measures(name)}


def measured(title: str, figure: str, samples: int) -> str:
    """Return a title with what its figure measures.

    Example:
        >>> measured("products", "products/mean", samples=8)
        'products, mean@8'
    """
    last = figure.rpartition("/")[2]
    words = {"greedy_accuracy": "greedy accuracy", "mean": f"mean@{samples}"}
    return f"{title}, {words.get(last, last)}"


def lost(figure: str) -> str:
    """Return the column of what a figure has lost since before training."""
    return f"{figure} lost"


def with_lost(rows: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """Return validations with those of the columns that say what a figure has lost since the first of its run."""
    figures = [name for name in rows if lost(name) in columns]
    losses = {lost(name): rows.groupby("run")[name].transform("first") - rows[name] for name in figures}
    return rows.assign(**losses)


def averaged(rows: pd.DataFrame, costs: Iterable[str]) -> pd.DataFrame:
    """Return the validations of a method at one learning rate, averaged over the seeds that have finished."""
    return with_lost(validations(rows), costs).groupby("step")[["mean", *costs]].mean()


def seeds(rows: pd.DataFrame) -> str:
    """Return how many seeds the methods have, in words.

    Args:
        rows: Rows of runs; those that have not finished do not count.

    Example:
        >>> rows = {"method": ["sft", "sft", "grpo"], "variant": "", "status": "finished", "seed": [0, 1, 0]}
        >>> seeds(pd.DataFrame(rows))
        '1 to 2 seeds'
    """
    counts = rows_of.finished(rows).groupby(["variant", "method"])["seed"].nunique()
    if counts.empty:
        return "no seeds yet"
    fewest, most = counts.min(), counts.max()
    return f"{fewest} to {most} seeds" if fewest < most else f"{most} seeds" if most > 1 else "one seed"


def pale(outcome: Outcome) -> str:
    """Return a sentence, with a space after it, about the methods that are not named; empty if all are."""
    looks = {*looks_of(outcome.plan).values()}
    words = [f"{look.name} ({colour})" for look, colour in PALE.items() if look in looks]
    return f"Thin lines: {'; '.join(words)}. " if words else ""


def held_out(outcome: Outcome, variant: str, at_the_end: bool = False) -> str:
    """Return a sentence that says how many prompts figures were measured on, and how many samples.

    Args:
        outcome: The plan's runs.
        variant: Name of the variant.
        at_the_end: Whether it is about the test rather than validations.
    """
    layers = (outcome.plan.base, outcome.plan.variants[variant])
    data = {name: value for layer in layers for name, value in layer.get("data", {}).get("init_args", {}).items()}
    prompts = data.get("num_val", data.get("test_size" if at_the_end else "val_size"))
    samples = outcome.test_samples if at_the_end else outcome.samples
    parts = ["Measured on", *([] if prompts is None else [f"{prompts}"]), f"held-out prompts, {samples} samples each"]
    second = data.get("num_second_skill") if beside(outcome) else None
    return " ".join(parts) + (f"; the second skill on {second}." if second else ".")
