"""Reports a run's progress in lines where no terminal shows a bar."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from typing_extensions import override

from lightning_gft.cli.ending import stages_of
from lightning_gft.cli.following import FollowedProgress
from lightning_gft.cli.life import SignsOfLife, describe_draw
from lightning_gft.cli.pace import Clock, duration
from lightning_gft.cli.texts import short
from lightning_gft.module import GFTLitModule

_INTERVAL = 30.0
_SHOWN = ("greedy_accuracy", "mean@", "pass@")
"""Prefixes of the validation figures to print."""


class ProgressLines(FollowedProgress):
    """Prints a line after the first step, after the last, and at most every half a minute between them.

    While a step or a batch of an evaluation lasts longer than that, it prints lines at growing intervals. Each line is
    flushed at once, also into a file or a pipe. Training continues if the reader of the pipe is gone.

    Args:
        clock: Returns the time in seconds.

    Attributes:
        life: Prints the lines of a step or a batch that lasts.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        super().__init__(clock)
        self._last = 0.0
        self.life = SignsOfLife(self._write, clock)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._last = float("-inf")
        total = self.total_steps(trainer, pl_module)
        is_cut = total and total < trainer.max_steps and not stages_of(trainer)  # otherwise stages may be the cause
        cut = f", where max_epochs={trainer.max_epochs} ends the run" if is_cut else ""
        self._say(trainer, f"Training from step {trainer.global_step}" + (f" to {total}{cut}" if total else ""))

    @override
    def size_changes(self, trainer: Trainer, size: str) -> None:
        self._say(trainer, size)

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        super().on_train_batch_start(trainer, pl_module)
        total, step = self.total_steps(trainer, pl_module), trainer.global_step + 1
        self._show_life(trainer, pl_module, lambda: f"Step {step}{f' of {total}' if total else ''}")

    @override
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.life.idle()
        total, step = self.total_steps(trainer, pl_module), trainer.global_step
        if not (self._is_due() or step == total):
            return
        figures = self.figures(trainer, pl_module)
        if (loss := trainer.callback_metrics.get("train/loss")) is not None:
            figures["loss"] = float(loss)
        shown = ", ".join(f"{name} {short(value)}" for name, value in figures.items())
        left = _left(self.pace.seconds_left(step, total))
        self._say(trainer, f"Step {step}{f' of {total}' if total else ''}: {shown}{left}")

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.life.idle()
        figures = {name.removeprefix("val/"): value for name, value in trainer.callback_metrics.items()}
        names = [name for name in figures if name.startswith(_SHOWN) and not name.endswith("_stderr")]
        shown = [f", {name} {short(float(figures[name]))}" for name in names]
        if not trainer.sanity_checking:
            self._say(trainer, f"Validation took {duration(self.evaluation.elapsed())}{''.join(shown)}")

    @override
    def evaluation_begins(self, trainer: Trainer, what: str) -> None:
        self._show_life(trainer, trainer.lightning_module, lambda: self._batch_of(what))
        if trainer.sanity_checking:
            return
        self._last = self.clock()
        at = f" at step {trainer.global_step}" if trainer.state.fn == TrainerFn.FITTING else ""
        self._say(trainer, f"{what}{at} begins")

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.life.idle()

    on_predict_end = on_test_end

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.life.end()

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.life.end()

    @override
    def batch_ends(self, trainer: Trainer, what: str) -> None:
        if trainer.sanity_checking or not self._is_due():
            return
        now = self.evaluation
        accuracy = "" if now.accuracy is None else f", greedy_accuracy {short(now.accuracy)}"
        self._say(trainer, f"{what}: {now.place(now.done)}{accuracy}{_left(now.left())}")

    def _is_due(self) -> bool:
        now = self.clock()
        if now - self._last < _INTERVAL:
            return False
        self._last = now
        return True

    def _say(self, trainer: Trainer, line: str) -> None:
        if trainer.is_global_zero:
            self._write(line)
            self.life.printed()

    def _write(self, line: str) -> None:
        if not self.enabled:
            return
        try:
            sys.stdout.write(f"{line}\n")  # in one piece, since two threads write
            sys.stdout.flush()
        except OSError:  # the reader of the pipe is gone or the disk is full, which must not end the run
            self.disable()

    def _show_life(self, trainer: Trainer, module: LightningModule, what: Callable[[], str]) -> None:
        if not (self.enabled and trainer.is_global_zero and isinstance(module, GFTLitModule)):
            return
        clock, rank = module.clock, trainer.global_rank if trainer.world_size > 1 else None

        def describe() -> str:
            name, _ = clock.current()
            phase = "" if name in (None, "validation") else f": {name}"
            return f"{what()}{phase}{describe_draw(clock.draw, rank)}"

        self.life.doing(describe)
        self.life.start()

    def _batch_of(self, what: str) -> str:
        now = self.evaluation
        return f"{what}: {now.place(now.done + 1)}" if now.done < sum(now.totals) else what


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f", {duration(seconds)} left"
