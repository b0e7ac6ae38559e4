"""Stops a run on request, between two steps or while it samples, with a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from typing_extensions import override

from lightning_gft.callbacks.stopped import keep_stopped
from lightning_gft.cli.stopping import StopRequest
from lightning_gft.training import abandon_draw
from lightning_gft.waiting import RunStoppedError

_EVALUATIONS = {TrainerFn.VALIDATING: "validation", TrainerFn.TESTING: "test"}


class StopBetweenSteps(Callback):
    """Ends a run on request, on all ranks together, with exit status 128 plus the signal's number.

    Training ends after its step, once the step's figures are logged. A step that still samples or waits for a server is
    abandoned on all ranks. A validation within the step is not finished; a resumed run repeats it. Other subcommands
    end after their batch, or within its draw; `predict` has written the groups of earlier batches.

    This is to be the first callback: no collective of another may come before the end of an evaluation here, where a
    rank that has left its batches goes directly. :class:`KeepAtStop` is to be the last.

    Args:
        request: The request of this process.
    """

    def __init__(self, request: StopRequest) -> None:
        self.request = request

    @override
    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.request.listen()

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.request.finish("step")

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        # Not at the end of a batch: its figures are logged, or its groups written, later.
        if not trainer.sanity_checking:
            self.request.next_batch()

    on_validation_batch_start = on_test_batch_start = on_predict_batch_start = on_train_batch_start

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        if trainer.state.fn == TrainerFn.FITTING:
            self.request.next_batch()
        self._begin(trainer, pl_module, trainer.num_val_batches)

    @override
    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer, pl_module, trainer.num_test_batches)

    @override
    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer, pl_module, trainer.num_predict_batches)

    @override
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self.request.end_evaluation()

    on_test_epoch_end = on_predict_epoch_end = on_validation_epoch_end

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if not isinstance(exception, RunStoppedError):
            return
        if (evaluator := getattr(pl_module, "evaluator", None)) is not None:
            evaluator.leave()  # weights that an evaluation has gathered
        if trainer.state.fn == TrainerFn.FITTING:
            abandon_draw(pl_module)  # the checkpoint would wait for it, and the request ends that wait

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.request.release()

    def _begin(self, trainer: Trainer, module: LightningModule, num_batches: Sequence[float]) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            self.request.finish("batch")
        own = torch.tensor(float(sum(num_batches)), device=module.device)
        shared = float(trainer.strategy.reduce(own, reduce_op="min"))
        self.request.begin_evaluation(shared if math.isfinite(shared) else 0)  # streams may end at any batch


class KeepAtStop(Callback):
    """Writes the checkpoint of a fit that ends on request, and reports how to resume it or repeat an evaluation.

    This is to be the last callback: its line is the last of the run, below a progress bar that has ended by then.
    """

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if not isinstance(exception, RunStoppedError):
            return
        if trainer.state.fn == TrainerFn.FITTING:
            keep_stopped(trainer)
        elif trainer.state.fn in _EVALUATIONS:
            what = _EVALUATIONS[trainer.state.fn]
            rank_zero_info(f"Stopped; the {what} is incomplete and has no figures; the same command repeats it")
