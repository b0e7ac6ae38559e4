"""Reports where a run hangs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from statistics import median
from threading import Event, Thread
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override

from lightning_gft.checks import check_number
from lightning_gft.module import GFTLitModule
from lightning_gft.phases import Phase, PhaseClock
from lightning_gft.training import Rows

_REMEMBERED = 20  # steps, whose median is the usual duration
_LOOK_AT: dict[Phase, str] = {
    "rollout": "responses may run to their limit (train/completions/mean_length), or the engine does not answer",
    "teacher": "the endpoint may not answer: look at its log, and at train/sources/<name>/retries of the rows before",
    "reward": "a reward may hang: give FunctionReward a `timeout`, or wrap it in TimeLimitedReward with `failed_score` "
    "(without it the run stops)",
    "update": "the device may hang, or swap memory; with several ranks another may be late: look for its line",
    "collective": "another rank may be late or dead: look for its line, which names its phase",
    "waiting": "the data may hang: look at the workers of the data loader, and at the disk",
}


class Watchdog(Callback):
    """Reports on stderr that a step takes far longer than the steps before it, and in which phase it hangs.

    Each stall gets one line. Every rank watches itself in a thread of its own, so it reports even while the step is
    blocked: the late rank names its phase, and the others name the collective that waits for it. The first step of a
    run or stage, validation, checkpoints and export are not watched. Code that holds Python's global lock blocks the
    thread too, such as a regular expression that backtracks without end.

    Args:
        factor: A step stalls if it takes at least this many times the median duration of the 20 steps before it.
        least_seconds: A step stalls only if it also takes at least this many seconds.

    Raises:
        ValueError: If ``factor`` is not above 1, or ``least_seconds`` not above 0.
        TypeError: If either is not a number.

    Example:
        >>> Watchdog(factor=10).least_seconds
        60.0
    """

    def __init__(self, factor: float = 5.0, least_seconds: float = 60.0) -> None:
        of, remedy = type(self).__name__, "60 is the default; trainer.default_callbacks leaves the watchdog out"
        self.factor = check_number("factor", factor, above=1, of=of, remedy="5 is the default")
        self.least_seconds = check_number("least_seconds", least_seconds, above=0, of=of, remedy=remedy)
        self._clock: PhaseClock
        self._rows: Rows
        self._rank = 0
        self._step = 0
        self._stage: tuple[int, str] | None = None
        self._reported = False
        self._usual: tuple[float, ...] = ()
        # Seconds in each phase at the end of the last step and at the start of this one (None between steps).
        self._marks: tuple[Mapping[Phase, float], Mapping[Phase, float] | None] = ({}, None)
        self._ended = Event()
        self._thread: Thread | None = None

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GFTLitModule)  # noqa: S101 (this package's callbacks serve its module)
        self._clock, self._rows, self._rank = pl_module.clock, pl_module.rows, trainer.global_rank
        self._usual, self._reported, self._marks = (), False, (self._clock.read(), None)
        self._ended = Event()
        self._thread = Thread(target=self._watch, args=(self._ended,), name="watchdog", daemon=True)
        self._thread.start()

    @override
    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        self._step = trainer.global_step
        self._marks = self._marks[0], self._clock.read()

    @override
    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        before = self._usual if self._rows.stage == self._stage else ()
        self._usual, self._stage = (*before, self._seconds())[-_REMEMBERED:], self._rows.stage
        self._marks, self._reported = (self._clock.read(), None), False

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end()

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._end()

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._end()

    def look(self) -> str | None:
        """Return the line to report now, or ``None``; a stall is reported once.

        Any thread may call this method.
        """
        phase, lasted = self._clock.current()
        is_first = not self._usual or self._rows.stage != self._stage
        between = self._marks[1] is None and phase != "waiting"
        if phase is None or phase == "validation" or between or is_first or self._reported:
            return None
        seconds, usual = self._seconds(), median(self._usual)
        if seconds < max(self.least_seconds, self.factor * usual):
            return None
        self._reported = True
        return (
            f"Rank {self._rank} stalls after optimizer step {self._step}: {seconds:.0f} s, usually {usual:.2g} s; it "
            f"has been in phase {phase} for {lasted:.0f} s: {_LOOK_AT[phase]}"
        )

    def _seconds(self) -> float:
        """Return the seconds of waiting for data since the last step, plus those that this step has taken."""
        ended, began = self._marks
        read = self._clock.read()
        waited = read["waiting"] - ended["waiting"]
        worked = [] if began is None else [read[name] - began[name] for name in _LOOK_AT if name != "waiting"]
        return waited + sum(worked)

    def _watch(self, ended: Event) -> None:
        while not ended.wait(min(1.0, self.least_seconds / 4)):
            if (line := self.look()) is not None:
                os.write(2, f"{line}\n".encode())  # not `print`: the main thread may be in the middle of one

    def _end(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self._thread = None
