"""Summarises a run in one plain sentence."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_gft.report.comparison import Comparison, odd
from lightning_gft.report.measures import measure, reference, validations
from lightning_gft.report.runs import Run
from lightning_gft.report.scales import share
from lightning_gft.report.text import isolated


def sentence(run: Run, runs: Sequence[Run], draws: Sequence[int]) -> str:
    """Return the sentence as HTML.

    Args:
        run: The run to summarise.
        runs: All runs; the run may have begun from the first.
        draws: Values of ``k`` in ``pass@k`` to compare.
    """
    name, steps = f"<b>{isolated(run.name)}</b>", validations(run)
    if not steps:
        return f"{name} has not finished a validation yet."
    if run.trained and steps[-1] == 0:
        return f"{name} has not been validated since it began; at step 0 it {_alone(run, draws)}."
    against = reference(run, runs)
    if against is None:
        return f"{f'At step {steps[-1]}, ' if run.trained else ''}{name} {_alone(run, draws)}."
    return Comparison(run, against, steps[-1]).sentence(name, draws)


def _alone(run: Run, draws: Sequence[int]) -> str:
    """Return the sentence's end for a run that is not compared with any other evaluation."""
    said = []
    if greedy := measure(run, "greedy_accuracy"):
        if not greedy.finite:
            return f"has a greedy accuracy that {odd(greedy)}"
        said.append(f"answers {share(greedy.value)} of prompts correctly (greedy)")
    for k in draws:
        if (solved := measure(run, f"pass@{k}")) and solved.finite:
            said.append(f"solves {share(solved.value)} with at least one of {k} samples")
    first = ", ".join(said) or "was validated on other data only"
    others = [(name, measure(run, "greedy_accuracy", name)) for name in run.datasets]
    told = [f"on {isolated(name)}, {share(of.value)} (greedy)" for name, of in others if of and of.finite]
    return "; ".join([first, *told])
