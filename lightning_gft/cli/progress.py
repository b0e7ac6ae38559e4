"""What a run says of its progress where no terminal shows a bar: a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.trainer.states import TrainerFn
from typing_extensions import override

from lightning_gft.cli.texts import short
from lightning_gft.schedules import known_steps

_INTERVAL = 30.0
_SHOWN = ("greedy_accuracy", "mean@", "pass@")
"""How the figures of a validation begin that are worth a place in its line."""


class ProgressLines(ProgressBar):
    """Prints a line after the first step, after the last, and at most every half a minute between them.

    A line goes out at once, also into a file or a pipe. When whatever reads it has left, training does not end.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._enabled = True
        self._began = self._last = 0.0
        self._from_step = 0
        self._validation_began = 0.0

    @override
    def disable(self) -> None:
        self._enabled = False

    @override
    def enable(self) -> None:
        self._enabled = True

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began, self._last, self._from_step = self._clock(), float("-inf"), trainer.global_step
        total = self._total(trainer, pl_module)
        self._say(trainer, f"Training from step {trainer.global_step}" + (f" to {total}" if total else ""))

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        total, step = self._total(trainer, pl_module), trainer.global_step
        if not (self._is_due() or step == total):
            return
        left = self._left(step - self._from_step, total - step) if total else ""
        figures = {name: value for name, value in self.get_metrics(trainer, pl_module).items() if name != "v_num"}
        if (loss := trainer.callback_metrics.get("train/loss")) is not None:
            figures["loss"] = float(loss)
        shown = ", ".join(f"{name} {short(value)}" for name, value in figures.items())
        self._say(trainer, f"Step {step}{f' of {total}' if total else ''}: {shown}{left}")

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start(trainer, "Validation")

    @override
    def on_validation_batch_end(self, trainer: Trainer, *args: Any) -> None:
        self._batch_end(trainer, "Validation", trainer.num_val_batches, *args)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        figures = {name.removeprefix("val/"): value for name, value in trainer.callback_metrics.items()}
        shown = [f", {name} {short(float(figures[name]))}" for name in figures if name.startswith(_SHOWN)]
        if not trainer.sanity_checking:
            self._say(trainer, f"Validation took {_duration(self._clock() - self._validation_began)}{''.join(shown)}")

    @override
    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start(trainer, "Test")

    @override
    def on_test_batch_end(self, trainer: Trainer, *args: Any) -> None:
        self._batch_end(trainer, "Test", trainer.num_test_batches, *args)

    @override
    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start(trainer, "Prediction")

    @override
    def on_predict_batch_end(self, trainer: Trainer, *args: Any) -> None:
        self._batch_end(trainer, "Prediction", trainer.num_predict_batches, *args)

    def _start(self, trainer: Trainer, what: str) -> None:
        if trainer.sanity_checking:
            return
        self._validation_began = self._last = self._clock()
        at = f" at step {trainer.global_step}" if trainer.state.fn == TrainerFn.FITTING else ""
        self._say(trainer, f"{what}{at} begins")

    def _batch_end(self, trainer: Trainer, what: str, totals: Sequence[float], *args: Any) -> None:
        if trainer.sanity_checking or not self._is_due():
            return
        _, _, _, batch_idx, dataset = (*args, 0)[:5]
        of_dataset = f" of data set {dataset + 1}" if len(totals) > 1 else ""
        self._say(trainer, f"{what}: batch {batch_idx + 1} of {totals[dataset]}{of_dataset}")

    def _total(self, trainer: Trainer, module: LightningModule) -> int | None:
        return known_steps(trainer, getattr(module, "updates_per_batch", 1))

    def _is_due(self) -> bool:
        now = self._clock()
        if now - self._last < _INTERVAL:
            return False
        self._last = now
        return True

    def _left(self, done: int, remaining: int) -> str:
        seconds = (self._clock() - self._began) / max(done, 1) * remaining
        return f", {_duration(seconds)} left" if remaining > 0 else ""

    def _say(self, trainer: Trainer, line: str) -> None:
        if not (self._enabled and trainer.is_global_zero):
            return
        try:
            print(line, flush=True)
        except OSError:  # whatever read it has left, or the disk is full: no reason to lose the run
            self.disable()


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
