"""The figures of a run that are compared, and their formats."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_gft.report.runs import Run
from lightning_gft.report.scales import number

_DRAWS = re.compile(r"val/(?:mean|pass)@(\d+)")


@dataclass(frozen=True)
class Figure:
    """A row of the table, and a panel of the plot.

    Args:
        title: Title of the row and the panel.
        key: Name in the log; the table shows its last value.
        largest: Whether the table shows the run's largest value instead.
        digits: Decimals to show.
        log: Whether the panel has a logarithmic scale.
    """

    title: str
    key: str
    largest: bool = False
    digits: int = 2
    log: bool = False

    def value(self, run: Run) -> float | None:
        """Return the figure of ``run``, or ``None`` if it was not logged."""
        values = [value for _, value in run.series(self.key)]
        if not values:
            return None
        return (
            max((value for value in values if not math.isnan(value)), default=math.nan) if self.largest else values[-1]
        )

    def show(self, run: Run) -> str:
        """Return the figure of ``run`` as text, or a dash if it was not logged."""
        value = self.value(run)
        if value is None:
            return "-"
        shown = f"{value:,.{self.digits}f}"
        return shown if value == 0 or shown.strip("-0.") else number(value)  # show no small value as zero


def compared(runs: Sequence[Run]) -> list[Figure]:
    """Return the figures to compare, among those that the runs have logged."""
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
        # Only the expert's tokens have this weight: own samples are drawn from p.
        Figure(
            "max weight C/p, expert", "train/rectified_weight_max_by_source/expert", largest=True, digits=1, log=True
        ),
        Figure("max grad norm", "train/grad_norm", largest=True),
        Figure("tokens", "train/num_tokens", digits=0),
    ]


def most_draws(runs: Sequence[Run]) -> list[int]:
    """Return the largest ``k`` of ``pass@k`` that all runs have measured, or each run's own if they share none."""
    draws = [of for run in runs if (of := {int(found[1]) for key in run.figures if (found := _DRAWS.fullmatch(key))})]
    if shared := set.intersection(*draws) if draws else set():
        return [max(shared)]
    return sorted({max(of) for of in draws})
