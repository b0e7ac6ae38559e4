"""Follows a run step by step and batch by batch, for progress displays."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from typing_extensions import override

from lightning_gft.cli.ending import step_of_end
from lightning_gft.cli.pace import Clock, EvaluationPace, Pace
from lightning_gft.cli.step_size import step_size
from lightning_gft.module import GFTLitModule


class FollowedProgress(ProgressBar):
    """Tracks the progress of a run; subclasses display it.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        super().__init__()
        self.clock = clock
        self.enabled = True
        self.pace = Pace(clock)
        self.evaluation = EvaluationPace(clock)
        self._size = ""

    @override
    def disable(self) -> None:
        self.enabled = False

    @override
    def enable(self) -> None:
        self.enabled = True

    @abstractmethod
    def size_changes(self, trainer: Trainer, size: str) -> None:
        """Handle the size of a step, before the first one and before the first one of another size."""

    @abstractmethod
    def evaluation_begins(self, trainer: Trainer, what: str) -> None:
        """Handle the start of a validation, a test or a prediction, which ``what`` names."""

    @abstractmethod
    def batch_ends(self, trainer: Trainer, what: str) -> None:
        """Handle the end of one of its batches; ``self.evaluation`` holds the progress."""

    def figures(self, trainer: Trainer, module: LightningModule) -> dict[str, Any]:
        """Return the figures to show beside the number of the step, by short names."""
        return {name: value for name, value in self.get_metrics(trainer, module).items() if name != "v_num"}

    def total_steps(self, trainer: Trainer, module: LightningModule) -> int | None:
        """Return the optimizer step at which the run ends, or ``None`` if it is not known."""
        return step_of_end(trainer, module)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.pace = Pace(self.clock, trainer.global_step)
        self._size = ""

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        # Here, because a schedule of stages exchanges the sampler as a batch begins.
        if isinstance(pl_module, GFTLitModule) and (size := step_size(trainer, pl_module)) != self._size:
            self._size = size
            self.size_changes(trainer, size)

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        what = "Sanity check" if trainer.sanity_checking else "Validation"
        self._begin(
            trainer, what, trainer.num_sanity_val_batches if trainer.sanity_checking else trainer.num_val_batches
        )

    @override
    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._count(trainer, pl_module, "Sanity check" if trainer.sanity_checking else "Validation", *args)

    @override
    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer, "Test", trainer.num_test_batches)

    @override
    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._count(trainer, pl_module, "Test", *args)

    @override
    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer, "Prediction", trainer.num_predict_batches)

    @override
    def on_predict_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._count(trainer, pl_module, "Prediction", *args)

    def _begin(self, trainer: Trainer, what: str, totals: Sequence[float]) -> None:
        self.evaluation = EvaluationPace(self.clock, totals)
        self.evaluation_begins(trainer, what)

    def _count(
        self,
        trainer: Trainer,
        module: LightningModule,
        what: str,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataset: int = 0,
    ) -> None:
        self.evaluation.add(module, outputs, dataset)
        self.batch_ends(trainer, what)
