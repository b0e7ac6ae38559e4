"""Stopping a run by Ctrl-C or SIGTERM between two steps, with what it has come to kept."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from typing_extensions import override

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopBetweenSteps(Callback):
    """Ends training after the step in which it was asked to, and keeps a checkpoint if the run keeps any.

    Prediction ends after its batch, and what was sampled is written. The process then exits as a stopped one does, with
    128 plus the signal's number. A second signal stops at once.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self._shared_batches = 0.0
        self._before: dict[int, Any] = {}

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._listen()

    @override
    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        own = torch.tensor(float(sum(trainer.num_predict_batches)), device=pl_module.device)
        # Processes may have different numbers of batches, and can agree after those that all of them have.
        self._shared_batches = float(trainer.strategy.reduce(own, reduce_op="min"))
        self._listen()

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self._must_stop(trainer):
            return
        if trainer.checkpoint_callback is None:
            rank_zero_info("Stopped; nothing is kept, because trainer.enable_checkpointing is off")
        else:
            path = (
                Path(trainer.log_dir or trainer.default_root_dir)
                / "checkpoints"
                / f"stopped-step={trainer.global_step}.ckpt"
            )
            trainer.save_checkpoint(path)
            rank_zero_info(f"Stopped; go on by --ckpt_path={path}")
        raise SystemExit(128 + (self.asked or signal.SIGTERM))

    @override
    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._shared_batches -= 1
        stops = self._must_stop(trainer) if self._shared_batches >= 0 else self.asked is not None
        if stops:
            raise SystemExit(128 + (self.asked or signal.SIGTERM))

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._restore()

    def _must_stop(self, trainer: Trainer) -> bool:
        # Processes are told at different times, and all of them must take part in what follows.
        return bool(trainer.strategy.reduce_boolean_decision(self.asked is not None, all=False))

    def _listen(self) -> None:
        self._before = {number: signal.signal(number, self._ask) for number in _SIGNALS}

    def _ask(self, number: int, frame: FrameType | None) -> None:
        rank_zero_info("Stopping after this step; once more to stop at once")
        self.asked = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
