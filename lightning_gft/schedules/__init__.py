"""Learning-rate schedules over the optimizer steps of a run."""

from typing import Any

from lightning_gft.schedules.base import (
    Length,
    Schedule,
    SchedulerFn,
    as_schedule,
    known_steps,
    make_scheduler,
    optimizer_steps,
)
from lightning_gft.schedules.borrowed import BORROWED, ChainedScheduler, SequentialLR, borrow, borrow_schedules
from lightning_gft.schedules.warmup import WarmupSchedule

__all__ = [
    "ChainedScheduler",
    "Length",
    "Schedule",
    "SchedulerFn",
    "SequentialLR",
    "WarmupSchedule",
    "as_schedule",
    "borrow_schedules",
    "known_steps",
    "make_scheduler",
    "optimizer_steps",
]


def __getattr__(name: str) -> Any:
    if name in BORROWED:
        return borrow(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
