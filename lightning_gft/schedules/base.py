"""Learning-rate schedules, built from an optimizer and the length of the run."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import Trainer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from typing_extensions import override

from lightning_gft.errors import OF_FACTORIES, GFTTypeError, GFTValueError, naming_errors

SchedulerFn = Callable[[Optimizer], LRScheduler]
Length = Callable[[], int]
"""Returns the number of optimizer steps of a schedule; raises if the run has no end."""


class Schedule(ABC):
    """A learning rate over the optimizer steps of a run, built when the length of the run is known."""

    @abstractmethod
    def make(self, optimizer: Optimizer, num_steps: Length) -> LRScheduler:
        """Return the schedule of an optimizer, to be stepped after every optimizer step.

        Args:
            optimizer: Optimizer whose learning rate the schedule scales.
            num_steps: Returns the number of optimizer steps of the schedule. Call it only if the schedule depends on
                it, since it raises if the run has no end.
        """


@dataclass(frozen=True)
class GivenSchedule(Schedule):
    """A schedule with a length of its own, given as a function from an optimizer.

    Args:
        function: Function such as ``partial(LinearLR, total_iters=100)``.
    """

    function: SchedulerFn

    @override
    def make(self, optimizer: Optimizer, num_steps: Length) -> LRScheduler:
        return self.function(optimizer)


def as_schedule(given: Schedule | SchedulerFn) -> Schedule:
    """Return a schedule, or wrap a function from an optimizer to one.

    Raises:
        TypeError: If the value is neither.
    """
    if isinstance(given, Schedule):
        return given
    if not callable(given):
        raise GFTTypeError(
            "`lr_scheduler`: expected a schedule such as WarmupSchedule('cosine', warmup_steps=10), or a function from "
            f"an optimizer to a schedule such as partial(LinearLR, total_iters=10), got {given!r}"
        )
    return GivenSchedule(given)


def make_scheduler(
    schedule: Schedule, optimizer: Optimizer, num_steps: Length, field: str = "model.lr_scheduler"
) -> LRScheduler:
    """Return a schedule of an optimizer.

    Args:
        schedule: Schedule to build.
        optimizer: Optimizer whose learning rate the schedule scales.
        num_steps: Returns the length of the run, see :meth:`Schedule.make`.
        field: Setting that has the schedule, which errors begin with.

    Raises:
        ValueError: If the schedule cannot be built, or depends on a metric.
        TypeError: If an argument is missing or of another type, or the function returns no schedule.
    """
    with naming_errors(field, kinds=OF_FACTORIES):
        scheduler: Any = schedule.make(optimizer, num_steps)
    if isinstance(scheduler, ReduceLROnPlateau):
        raise GFTValueError(
            f"`{field}`: expected a schedule over optimizer steps, got ReduceLROnPlateau, which depends on a "
            "metric; use lightning_gft.WarmupSchedule"
        )
    if not isinstance(scheduler, LRScheduler):
        raise GFTTypeError(
            f"`{field}`: expected a schedule from the given function, got {scheduler!r}; return one such as LinearLR"
        )
    return scheduler


def optimizer_steps(trainer: Trainer | None, updates_per_batch: int) -> int:
    """Return the number of optimizer steps of a whole run, including those before it was resumed.

    Args:
        trainer: Trainer before the fit, with its data attached. This rank's batches are counted, as every rank has the
            same number.
        updates_per_batch: Optimizer steps per batch.

    Raises:
        ValueError: If the run has no end, or there is no trainer.
    """
    if trainer is None:
        raise GFTValueError(
            "`lr_scheduler`: expected a Trainer, since the schedule lasts as long as the run, got none; give its length"
        )
    trainer.fit_loop.setup_data()
    steps = known_steps(trainer, updates_per_batch)
    if steps is None:
        raise GFTValueError(
            "`lr_scheduler`: expected a run with an end, since the schedule lasts as long as the run, got one "
            "without; set trainer.max_steps, or trainer.max_epochs if the data have a length, or give the schedule a "
            "length"
        )
    return max(steps, 1)


def known_steps(trainer: Trainer, updates_per_batch: int) -> int | None:
    """Return the number of optimizer steps of a whole run in which no setting changes, or ``None`` if it has no end."""
    limits = [] if trainer.max_steps == -1 else [trainer.max_steps]
    batches = trainer.num_training_batches
    if trainer.max_epochs not in (None, -1) and math.isfinite(batches):
        limits.append(int(batches) * trainer.max_epochs * updates_per_batch)
    return min(limits, default=None)
