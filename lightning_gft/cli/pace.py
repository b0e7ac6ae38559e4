"""The pace of a run, for its progress display: the time left, and the accuracy of an evaluation so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from lightning.pytorch import LightningModule

from lightning_gft.evaluation import Evaluated
from lightning_gft.module import GFTLitModule

Clock = Callable[[], float]


class Pace:
    """Estimates the remaining time from the pace so far.

    Args:
        clock: Returns the time in seconds.
        done: Units of work, such as steps, that were done before.

    Example:
        >>> times = iter([0.0, 30.0])
        >>> Pace(lambda: next(times), done=10).seconds_left(13, 16)
        30.0
    """

    def __init__(self, clock: Clock, done: int = 0) -> None:
        self._clock, self._before, self._began = clock, done, clock()

    def elapsed(self) -> float:
        """Return the seconds since this object was created."""
        return self._clock() - self._began

    def seconds_left(self, done: int, total: float | None) -> float | None:
        """Return the estimated seconds left, or ``None`` if they are not known or nothing remains."""
        if total is None or not math.isfinite(total) or done >= total or done <= self._before:
            return None
        return self.elapsed() / (done - self._before) * (total - done)


class EvaluationPace(Pace):
    """The pace of a validation, a test or a prediction, and its accuracy so far.

    Args:
        clock: Returns the time in seconds.
        totals: Number of batches of each data set.

    Attributes:
        dataset: Index of the current data set.
        done: Batches of all data sets that are done.
    """

    def __init__(self, clock: Clock, totals: Sequence[float] = ()) -> None:
        super().__init__(clock)
        self.totals = totals
        self.dataset = 0
        self.done = self._correct = self._judged = 0

    def add(self, module: LightningModule, outputs: Any, dataset: int) -> None:
        """Count a batch on this rank."""
        if dataset != self.dataset:
            self._correct = self._judged = 0
        self.dataset, self.done = dataset, self.done + 1
        if isinstance(outputs, Evaluated) and isinstance(module, GFTLitModule):
            correctness = module.evaluator.correctness(module.sampler.rewards)
            judged = correctness.judged(outputs.greedy.reward_parts[correctness.reward])
            self._correct += int(judged.nansum())
            self._judged += int(judged.isfinite().sum())

    def place(self, number: int) -> str:
        """Return the place of a batch in words.

        Args:
            number: Number of the batch over all data sets, from 1.

        Example:
            >>> EvaluationPace(iter([0.0]).__next__, [3, 4]).place(5)
            'batch 2 of 4 of data set 2'
        """
        for dataset, total in enumerate(self.totals):
            if number <= total:
                return f"batch {number} of {total}" + (f" of data set {dataset + 1}" if len(self.totals) > 1 else "")
            number -= int(total)
        return f"batch {number}"

    @property
    def accuracy(self) -> float | None:
        """Share of correct greedy responses to the current data set so far, on this rank."""
        return self._correct / self._judged if self._judged else None

    def left(self) -> float | None:
        """Return the estimated seconds until all data sets are done."""
        return self.seconds_left(self.done, sum(self.totals))


def duration(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds.

    Example:
        >>> duration(75.4)
        '0:01:15'
    """
    return str(timedelta(seconds=round(seconds)))
