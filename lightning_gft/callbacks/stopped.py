"""Writes the checkpoint of a run that ends early, so that a later run can resume from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from typing_extensions import override


def keep_stopped(trainer: Trainer) -> None:
    """Write a checkpoint of a fit that stops here, if it keeps any, and report how to resume. All ranks must call this.

    Args:
        trainer: A trainer between two steps.
    """
    if trainer.checkpoint_callback is None:
        rank_zero_info("Stopped without a checkpoint, because trainer.enable_checkpointing is off")
        return
    folder = Path(trainer.log_dir or trainer.default_root_dir) / "checkpoints"
    path = folder / f"stopped-step={trainer.global_step}.ckpt"
    trainer.save_checkpoint(path, weights_only=False)
    rank_zero_info(f"Stopped; resume by --ckpt_path={path}")


class KeepStopped(Callback):
    """Writes a checkpoint of the step at which a callback ends the run, after all callbacks have counted the step.

    Lightning's own checkpoints follow their schedule. A run that resumes from one older than the reason of the end
    would end at the same step again.

    Args:
        ending: Returns whether the run is to end; must agree on all ranks.
    """

    def __init__(self, ending: Callable[[], bool]) -> None:
        self.ending = ending
        self._kept = False

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._kept = False

    @override
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._keep(trainer)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._keep(trainer)

    def _keep(self, trainer: Trainer) -> None:
        reached = trainer.global_step >= (trainer.min_steps or 0)
        reached &= trainer.current_epoch >= (trainer.min_epochs or 0)  # the trainer continues until then
        if self.ending() and reached and not self._kept:
            self._kept = True
            keep_stopped(trainer)
