"""The checkpoint of a run that ends early, which a later run resumes from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from typing_extensions import override


def keep_stopped(trainer: Trainer) -> None:
    """Write the checkpoint of a fit that stops here, if it keeps any, and say how to resume. All ranks call it.

    Args:
        trainer: Between two steps.
    """
    if trainer.checkpoint_callback is None:
        rank_zero_info("Stopped; nothing is kept, because trainer.enable_checkpointing is off")
        return
    folder = Path(trainer.log_dir or trainer.default_root_dir) / "checkpoints"
    path = folder / f"stopped-step={trainer.global_step}.ckpt"
    trainer.save_checkpoint(path, weights_only=False)
    rank_zero_info(f"Stopped; resume by --ckpt_path={path}")


class KeepStopped(Callback):
    """Keeps the step at which a callback ends the run, once all callbacks have counted it.

    Lightning's own checkpoints come when they are due, and one that is older than what ended the run would end there
    again.

    Args:
        asked: Returns whether the run is to end; the same on all ranks.
    """

    def __init__(self, asked: Callable[[], bool]) -> None:
        self.asked = asked
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
        reached &= trainer.current_epoch >= (trainer.min_epochs or 0)  # until then the run lasts
        if self.asked() and reached and not self._kept:
            self._kept = True
            keep_stopped(trainer)
