"""What evaluations have measured of a run: with its standard error, at its start and at its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_gft.report.runs import Run

NOISE = 2.0
"""Standard errors within which two figures count as the same."""
_ROUNDING = 0.03
"""The same for shares whose standard errors are not known."""


@dataclass(frozen=True)
class Measure:
    """A figure of one evaluation.

    Args:
        value: Its value.
        error: Its standard error, ``None`` where it was not logged.
    """

    value: float
    error: float | None = None

    def same(self, other: Measure) -> bool:
        """Whether the difference may be chance."""
        if self.error is None or other.error is None:
            return abs(self.value - other.value) <= _ROUNDING
        return abs(self.value - other.value) <= NOISE * math.hypot(self.error, other.error)


@dataclass(frozen=True)
class Reference:
    """What a run is compared with.

    Args:
        run: The run, or another one.
        place: Which of its evaluations: 0 for the first, -1 for the last.
        name: What to call it.
        is_start: Whether the run began from there, so that differences are what it has changed.
    """

    run: Run
    place: int
    name: str
    is_start: bool


def measure(run: Run, figure: str, dataset: str = "", place: int = -1) -> Measure | None:
    """Return a figure of the evaluation at a place, by default the last; ``None`` where it was not logged."""
    series = run.series(key(figure, dataset))
    if not series:
        return None
    step, value = series[place]
    return Measure(value, errors(run, figure, dataset).get(step))


def errors(run: Run, figure: str, dataset: str = "") -> dict[int, float]:
    """Return the standard errors of a figure by step."""
    return dict(run.series(key(f"{figure}_stderr", dataset)))


def key(figure: str, dataset: str = "") -> str:
    """Return the name that an evaluation's figure is logged under.

    Example:
        >>> key("entropy"), key("entropy", "hard")
        ('val/entropy', 'val/hard/entropy')
    """
    return "/".join(filter(None, ("val", dataset, figure)))


def reference(run: Run, runs: Sequence[Run]) -> Reference | None:
    """Return what a run is compared with; ``None`` where there is nothing.

    That is its own start if it was measured then, else the first run if that is another, else its first evaluation.
    """
    evaluations = run.series(key("greedy_accuracy"))
    if run.trained and len(evaluations) > 1 and evaluations[0][0] == 0:
        return Reference(run, 0, "its start", is_start=True)
    if run is not runs[0]:
        return Reference(runs[0], -1, runs[0].name, is_start=not runs[0].trained)
    if len(evaluations) > 1:
        return Reference(run, 0, f"step {evaluations[0][0]}", is_start=True)
    return None
