"""The clock that times the phases of a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override

from lightning_gft.phases import PHASES, Phase, PhaseClock


class RunClock(PhaseClock, Callback):
    """Times the phases of a run, from the beginning of a fit, validation, test or prediction to its end.

    Args:
        now: Function that returns the time in seconds.

    Example:
        >>> RunClock().current()
        (None, 0.0)
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        super().__init__(now)
        self._before: PhaseClock | None = None
        self._step_began = now()
        self._begin_row()

    def step_seconds(self) -> float:
        """Return the seconds since the training step began."""
        return self.now() - self._step_began

    def take_shares(self) -> dict[Phase, float]:
        """Return the share of each phase in the time since the last call, in which validation does not count."""
        began, before, read = self._row_began, self._row_before, self.read()
        self._begin_row()
        seconds = {name: read[name] - before[name] for name in PHASES}
        whole = self._row_began - began - seconds.pop("validation")
        return {name: of_phase / whole for name, of_phase in seconds.items()}

    def _begin_row(self) -> None:
        self._row_before = self.read()
        self._row_began = self.now()

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._before = self.start()

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin_row()

    @override
    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        self._step_began = self.now()

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.enter("validation")

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.leave()

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.stop(self._before)

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.stop(self._before)
