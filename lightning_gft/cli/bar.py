"""The progress bar for a terminal."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable
from typing import Any, TextIO

from lightning.pytorch import LightningModule, Trainer
from rich import get_console
from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text
from typing_extensions import override

from lightning_gft.cli.following import FollowedProgress
from lightning_gft.cli.pace import Clock, duration
from lightning_gft.module import GFTLitModule
from lightning_gft.phases import PhaseClock

_BAR_WIDTH = 20
_TRAINING = "Training"
_REFRESHES = 4
"""Refreshes per second: the phase and the remaining time change between two steps."""


class ShortProgressBar(FollowedProgress):
    """Shows a run in two lines of at most 80 columns, and an evaluation in a third line while it lasts.

    The first line has the step, the remaining time and the current phase. The second has the reward, the accuracy of
    the last validation, the share of rectified tokens, and the tokens per second.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        super().__init__(clock)
        self._display: _Display | None = None
        self._training: TaskID | None = None
        self._evaluating: TaskID | None = None

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if (display := self._started(pl_module)) is not None:
            total = self.total_steps(trainer, pl_module)
            self._training = display.add_task(_TRAINING, total=total, completed=trainer.global_step)

    @override
    def size_changes(self, trainer: Trainer, size: str) -> None:
        if self._display is not None:
            self._display.console.print(size, markup=False, highlight=False, soft_wrap=True)

    @override
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        total, step = self.total_steps(trainer, pl_module), trainer.global_step
        self._move(self._training, step, self.pace.seconds_left(step, total))
        self._show_figures(trainer, pl_module)

    @override
    def evaluation_begins(self, trainer: Trainer, what: str) -> None:
        if (display := self._started(trainer.lightning_module)) is not None:
            if self._training is not None:
                display.update(self._training, ends=None)  # the remaining time excludes evaluations
            total = sum(self.evaluation.totals)
            self._evaluating = display.add_task(what, total=total if total < float("inf") else None)

    @override
    def batch_ends(self, trainer: Trainer, what: str) -> None:
        accuracy = self.evaluation.accuracy
        note = "" if accuracy is None else f"accuracy {_brief(accuracy)} so far"
        self._move(self._evaluating, self.evaluation.done, self.evaluation.left(), note)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._display is not None and self._evaluating is not None:
            self._display.remove_task(self._evaluating)
        if not trainer.sanity_checking:
            self._show_figures(trainer, pl_module)

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stop()

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._stop()

    def _started(self, module: LightningModule) -> _Display | None:
        if self.enabled and self._display is None:
            self._display = _Display(self.clock)
            self._display.run_clock = module.clock if isinstance(module, GFTLitModule) else None
            before = sys.stderr
            self._display.start()
            _move_log(before, sys.stderr)  # which now prints above the bar
        return self._display

    def _stop(self) -> None:
        if self._display is not None:
            self._display.run_clock = None
            above = sys.stderr
            self._display.stop()
            _move_log(above, sys.stderr)
        self._display = self._training = self._evaluating = None

    def _move(self, task: TaskID | None, done: int, left: float | None, note: str = "") -> None:
        if self._display is not None and task is not None:
            ends = None if left is None else self.clock() + left
            self._display.update(task, completed=done, ends=ends, note=note)

    def _show_figures(self, trainer: Trainer, module: LightningModule) -> None:
        if self._display is not None and self._training is not None:
            shown = (f"{name} {_brief(value)}" for name, value in self.figures(trainer, module).items())
            self._display.figures = ", ".join(shown)


def _move_log(before: TextIO, now: TextIO) -> None:
    """Redirect Lightning's log, which holds on to the original standard error, to the current one."""
    for handler in logging.getLogger("lightning.pytorch").handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is before:
            handler.setStream(now)


def _brief(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _compact(count: int) -> str:
    for unit, size in (("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)


class _Display(Progress):
    """The rows of training and of an evaluation, and a line of figures below them.

    Attributes:
        run_clock: Clock of the run, for its phase and its draw; read by the thread that refreshes.
        figures: Text of the line of figures.
    """

    def __init__(self, clock: Clock) -> None:
        self.run_clock: PhaseClock | None = None
        self.figures = ""
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(_BAR_WIDTH),
            MofNCompleteColumn(),
            _TimeLeft(clock),
            _Note(self),
            console=get_console(),
            refresh_per_second=_REFRESHES,
        )

    @override
    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        yield Text(self.figures, no_wrap=True, overflow="ellipsis")


class _TimeLeft(ProgressColumn):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    @override
    def render(self, task: Task) -> Text:
        ends = task.fields.get("ends")
        return Text("" if ends is None else f"{duration(max(ends - self._clock(), 0))} left")


class _Note(ProgressColumn):
    """The counts of the draw under way, in the row of the evaluation if there is one; else a note, or the phase."""

    def __init__(self, display: _Display) -> None:
        super().__init__()
        self._display = display

    @override
    def render(self, task: Task) -> Text:
        return Text(self._note(task), style="dim", no_wrap=True)

    def _note(self, task: Task) -> str:
        clock, is_training = self._display.run_clock, task.description == _TRAINING
        evaluates = any(row.description != _TRAINING for row in self._display.tasks)
        if clock is not None and (draw := clock.draw) is not None and is_training != evaluates:
            return f"{draw.responses}/{draw.total}, {_compact(draw.tokens)} tokens"
        phase = clock.current()[0] if clock is not None and is_training else None
        return task.fields.get("note") or phase or ""
