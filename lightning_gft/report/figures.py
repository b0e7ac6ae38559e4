"""The figures of a run that the table and the plot compare, and their formats."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_gft.report.runs import Run
from lightning_gft.report.scales import number

_DRAWS = re.compile(r"val/(?:mean|pass)@(\d+)")


@dataclass(frozen=True)
class Figure:
    """A panel of the plot; a row of the table if evaluations measure it.

    Args:
        title: Title of the row and the panel.
        key: Name in the log; the table shows its last value.
        digits: Decimals to show.
        log: Whether the panel has a logarithmic scale.
    """

    title: str
    key: str
    digits: int = 2
    log: bool = False

    def value(self, run: Run) -> float | None:
        """Return the figure of ``run``, or ``None`` if it was not logged."""
        series = run.series(self.key)
        return series[-1][1] if series else None

    def show(self, run: Run) -> str:
        """Return the figure of ``run`` as text, or a dash if it was not logged."""
        value = self.value(run)
        if value is None:
            return "-"
        shown = f"{value:,.{self.digits}f}"
        return shown if value == 0 or shown.strip("-0.") else number(value)  # show no small value as zero


def table_rows(runs: Sequence[Run]) -> list[Figure]:
    """Return the rows of the table: what the runs' evaluations measure."""
    draws = most_draws(runs)
    datasets = dict.fromkeys(name for run in runs for name in run.datasets)
    return [
        Figure("greedy", "val/greedy_accuracy"),
        *(
            figure
            for k in draws
            for figure in (Figure(f"mean@{k}", f"val/mean@{k}"), Figure(f"pass@{k}", f"val/pass@{k}"))
        ),
        Figure("entropy", "val/entropy", digits=3),
        Figure("KL(policy‖base)", "val/kl", digits=3),
        *(Figure(name, f"val/{name}/greedy_accuracy") for name in datasets),
    ]


def plot_panels(runs: Sequence[Run]) -> list[Figure]:
    """Return the panels of the plot: the table's figures, and two of training that show how it went."""
    return [
        *table_rows(runs),
        # Only the expert's tokens have this weight: own samples are drawn from p.
        Figure("max weight C/p, expert", "train/rectified_weight_max_by_source/expert", log=True),
        Figure("grad norm", "train/grad_norm"),
    ]


def most_draws(runs: Sequence[Run]) -> list[int]:
    """Return the largest ``k`` of ``pass@k`` that all runs have measured, or each run's own if they share none."""
    draws = [of for run in runs if (of := {int(found[1]) for key in run.figures if (found := _DRAWS.fullmatch(key))})]
    if shared := set.intersection(*draws) if draws else set():
        return [max(shared)]
    return sorted({max(of) for of in draws})
