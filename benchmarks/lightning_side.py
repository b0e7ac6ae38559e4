"""Training with our module, for every measurement that has an own side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import Strategy
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from benchmarks.setting import Device
from benchmarks.steps import StepLog
from lightning_gft import GFTLitModule

_FIGURES = ("reward", "completions/mean_length", "grad_norm")


class NoteSteps(Callback):
    """Notes each training step.

    Args:
        notes: Where to.
    """

    def __init__(self, notes: StepLog) -> None:
        self.notes = notes

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        policy: Any = pl_module.policy
        self.notes.watch(policy.model, policy.pad_token_id)

    def on_train_batch_start(self, *_: Any) -> None:
        """Begin a step."""
        self.notes.begin()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Gradients are there."""
        policy: Any = pl_module.policy
        self.notes.before_optimizer(policy.model)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """End a step."""
        self.notes.end()
        metrics = trainer.callback_metrics
        self.notes.figures.append({name: float(metrics[f"train/{name}"]) for name in _FIGURES})


def fit(
    module: GFTLitModule,
    data: LightningDataModule | DataLoader[Any],
    *callbacks: Callback,
    device: Device,
    autocast: bool,
    steps: int,
    workplace: Path,
    strategy: str | Strategy = "auto",
    devices: int | list[int] = 1,
) -> None:
    """Train without what has no part in a measurement: loggers, checkpoints, bars.

    Args:
        module: What.
        data: What on.
        callbacks: Who watches.
        device: Where.
        autocast: Whether products are taken in bfloat16.
        steps: Optimizer steps.
        workplace: Folder to write to.
        strategy: Of several processes.
        devices: As Lightning takes them.
    """
    trainer = Trainer(
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=devices,
        strategy=strategy,
        precision="bf16-mixed" if autocast else "32-true",
        max_steps=steps,
        callbacks=list(callbacks),
        default_root_dir=workplace,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
