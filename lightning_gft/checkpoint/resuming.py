"""What Lightning leaves out when a run goes on."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loops.evaluation_loop import RestartStage


def make_up_validation(trainer: Trainer) -> None:
    """Let a run that goes on begin with the validation that was due at its step, if one was.

    A checkpoint of a step is written before the validation of that step. Of a run that was killed between the two,
    Lightning takes the validation for done. It does make up one that was killed in its middle: this says that it was.

    Args:
        trainer: About to train, with the state of a checkpoint after whose step nothing has been measured.
    """
    loop = trainer.fit_loop.epoch_loop
    fetcher = trainer.fit_loop._data_fetcher
    assert fetcher is not None  # noqa: S101 (training is about to start)
    if not (loop.restarted_on_train_batch_end and loop._should_check_val_fx(fetcher)):
        return
    if loop.batch_progress.is_last_batch and trainer.fit_loop.restarted_mid_epoch:
        epochs: Any = trainer.fit_loop.epoch_progress
        for progress in (epochs.current, epochs.total):  # Lightning has counted the epoch, for which it is too soon
            progress.processed -= 1
            progress.completed -= 1
    loop.batch_progress.increment_completed()  # the step was taken; only what follows it was not
    loop.update_restart_stage()
    loop.val_loop._restart_stage = RestartStage.RESTARTED_MID_EVALUATION
