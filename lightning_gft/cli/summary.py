"""Prints the results at the end of a run."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table

from lightning_gft.callbacks import HuggingFaceExport, StageSchedule
from lightning_gft.cli.texts import short
from lightning_gft.module import GFTLitModule
from lightning_gft.rewards.items import describe_failing

_ERROR = "_stderr"


def print_figures(trainer: Trainer, stage: str) -> None:
    """Print the figures of a validation or a test as a table: a row per figure, a column per data set."""
    figures: dict[str, dict[str, str]] = {}
    measured = {key: short(float(value)) for key, value in trainer.callback_metrics.items()}
    for key, value in measured.items():
        kind, *rest = key.split("/")
        if kind == stage and not key.endswith(_ERROR):
            *dataset, figure = rest
            error = measured.get(f"{key}{_ERROR}")
            figures.setdefault(figure, {})["/".join(dataset)] = f"{value} ± {error}" if error else value
    log_dir = trainer.log_dir  # a collective: all ranks read it together
    if not trainer.is_global_zero:
        return
    names = list(dict.fromkeys(name for row in figures.values() for name in row))
    table = Table(stage, *(name or "main" for name in names))
    for figure, row in figures.items():
        table.add_row(figure, *(row.get(name, "-") for name in names))
    if figures:
        for line in _when(trainer):
            print(line)
        Console(file=sys.stdout).print(table)
    if trainer.loggers and log_dir is not None:
        print(f"Logs: {log_dir}")


def _when(trainer: Trainer) -> list[str]:
    """Return a line about figures of a fit that are not those of its last step, such as those that it resumed with."""
    module = trainer.lightning_module
    if trainer.state.fn != TrainerFn.FITTING or not isinstance(module, GFTLitModule):
        return []
    step, is_own = module.run.last_validation()
    if is_own and step == trainer.global_step:
        return []
    return [f"Last validation: step {step}{'' if is_own else ', before this run'}"]


@rank_zero_only
def print_measured(ckpt_path: str | None) -> None:
    """Print which policy the figures belong to: without a checkpoint it is untrained."""
    print(f"Measured: {ckpt_path or 'the policy as loaded, before any training'}")


@rank_zero_only
def print_kept(trainer: Trainer) -> None:
    """Print after a fit where the trained weights are, or that they were not kept."""
    if "train/loss" not in trainer.callback_metrics:
        print(f"Nothing was trained: {_limit(trainer)} ends at step {trainer.global_step} or before")
        return
    module = trainer.lightning_module
    assert isinstance(module, GFTLitModule)  # noqa: S101 (the command line creates no other)
    if not module.guard.informative_batches:
        rewards = {name: one for sampler in module.stages.samplers() for name, one in sampler.rewards.items()}
        cause = (failing := describe_failing(rewards)) or (
            "for example because rewards do not differ within groups or the loss skips all responses. Check "
            "train/rewards and the data"
        )
        if failing and trainer.world_size > 1:
            cause += "; the responses are those of rank 0 alone"
        print(f"Nothing was learnt: no sequence carried a gradient, {cause}")
    keepers = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    kept = [path for keeper in keepers if (path := keeper.last_model_path or keeper.best_model_path)]
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    kept += [str(path) for callback in callbacks if isinstance(callback, StageSchedule) for path in callback.paths]
    for path in kept:
        print(f"Checkpoint: {path}")
    if kept or any(isinstance(callback, HuggingFaceExport) for callback in callbacks):
        return
    print(f"The trained weights are not kept: {_reason(keepers, trainer.global_step)}")


def _reason(keepers: Sequence[ModelCheckpoint], step: int) -> str:
    """Return why no checkpoint was kept."""
    if not keepers:
        return (
            "a HuggingFaceExport callback would keep them, or a ModelCheckpoint with trainer.enable_checkpointing=true"
        )
    if (first := min(keeper._every_n_train_steps for keeper in keepers)) > step:
        return f"ModelCheckpoint first writes at step {first}, and the run has {step}; lower its every_n_train_steps"
    return "ModelCheckpoint waits for a validation; set its every_n_train_steps"


def _limit(trainer: Trainer) -> str:
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    if any(isinstance(callback, StageSchedule) for callback in callbacks):
        return "the last stage, or trainer.max_steps or trainer.max_epochs,"
    return "trainer.max_steps or trainer.max_epochs"
