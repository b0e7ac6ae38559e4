"""Figures of a run's evaluations, with their standard errors, and the evaluations to compare them with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_gft.report.logs import Series
from lightning_gft.report.runs import Run

NOISE = 2.0
"""Standard errors within which two figures count as equal."""
_ROUNDING = 0.03
"""Difference within which two shares without a standard error count as equal."""


@dataclass(frozen=True)
class Measure:
    """A figure of one evaluation.

    Args:
        value: The figure's value; may be NaN or infinite.
        step: Optimizer step of the evaluation.
        error: Standard error of the value, or ``None`` if it was not logged.
    """

    value: float
    step: int = 0
    error: float | None = None

    @property
    def finite(self) -> bool:
        """Whether the value is finite and so can be compared."""
        return math.isfinite(self.value)

    def noise(self, other: Measure) -> float | None:
        """Return the largest difference that may be chance, or ``None`` if a standard error is not known."""
        if self.error is None or other.error is None or not math.isfinite(self.error + other.error):
            return None
        return NOISE * math.hypot(self.error, other.error)

    def change(self, other: Measure) -> int:
        """Return 1 if the value is clearly above another's, -1 if it is clearly below, 0 if that may be chance."""
        noise = self.noise(other)
        difference = self.value - other.value
        if abs(difference) <= (_ROUNDING if noise is None else noise):
            return 0
        return 1 if difference > 0 else -1


@dataclass(frozen=True)
class Reference:
    """The evaluation that a run is compared with.

    Args:
        run: The run itself, or another one.
        name: Name of the evaluation in sentences.
        step: Step of the evaluation; by default the run's last.
        is_start: Whether the run began from the evaluated policy, so that training caused the differences.
    """

    run: Run
    name: str
    step: int | None = None
    is_start: bool = False


def measure(run: Run, figure: str, dataset: str = "", step: int | None = None) -> Measure | None:
    """Return a figure of the evaluation at a step, by default the last, or ``None`` if it was not logged."""
    series = run.series(key(figure, dataset))
    value = dict(series).get(step) if step is not None else series[-1][1] if series else None
    if value is None:
        return None
    at = series[-1][0] if step is None else step
    return Measure(value, at, errors(run, figure, dataset).get(at))


def errors(run: Run, figure: str, dataset: str = "") -> dict[int, float]:
    """Return the standard errors of a figure by step."""
    return dict(run.series(key(f"{figure}_stderr", dataset)))


def key(figure: str, dataset: str = "") -> str:
    """Return the name under which an evaluation logs a figure.

    Example:
        >>> key("entropy"), key("entropy", "hard")
        ('val/entropy', 'val/hard/entropy')
    """
    return "/".join(filter(None, ("val", dataset, figure)))


def validations(run: Run) -> list[int]:
    """Return the steps at which a run was validated on any data set."""
    return sorted({step for name, series in run.figures.items() if name.startswith("val/") for step, _ in series})


def reference(run: Run, runs: Sequence[Run]) -> Reference | None:
    """Return the evaluation that a run is compared with, or ``None`` without one.

    It is the run's own start if that was evaluated, otherwise the first run if this is another one, otherwise the run's
    own first validation.
    """
    steps = validations(run)
    if run.trained and len(steps) > 1 and steps[0] == 0:
        return Reference(run, "its start", 0, is_start=True)
    first = runs[0]
    if run is not first and validations(first):
        return Reference(first, first.name, is_start=run.trained and not first.trained)
    return Reference(run, f"its step {steps[0]}", steps[0]) if len(steps) > 1 else None


def with_start(run: Run, runs: Sequence[Run], name: str) -> Series:
    """Return a figure by step; it starts with the first run's value if that run was only evaluated."""
    series, first = run.series(name), runs[0]
    if not series or series[0][0] == 0 or not run.trained or first.trained:
        return series
    return [*((0, value) for _, value in first.series(name)[-1:]), *series]
