"""Checks that a run is long enough for the validations that its settings ask for."""

from __future__ import annotations

import math

from lightning.fabric.utilities.data import sized_len
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn

from lightning_gft.data import PromptDataModule
from lightning_gft.data.errors import remedy_without_rows
from lightning_gft.errors import GFTValueError


def check_validation_interval(trainer: Trainer, data: PromptDataModule, updates_per_batch: int = 1) -> None:
    """Raise an error for a validation that is due after the end of the epoch, and warn of a run that ends before any.

    Lightning raises that error too, but only when the policy is loaded, and it does not name the settings.

    Args:
        trainer: A trainer that is about to fit, or only describes a fit.
        data: The training and validation data, tokenised.
        updates_per_batch: The fewest optimizer steps that the run takes on a batch.

    Raises:
        ValueError: If the interval is counted within epochs and exceeds them.
    """
    batches, first = first_validation(trainer, data)
    if not first:
        return
    every = trainer.val_check_interval
    if trainer.check_val_every_n_epoch is not None and isinstance(every, int) and every > batches:
        raise GFTValueError(
            f"`trainer.val_check_interval`: expected at most {batches}, the batches of an epoch, got {every}; set "
            "`trainer.check_val_every_n_epoch: null` to count batches over epochs, or lower it"
        )
    _warn_of_no_validation(trainer, batches, first, updates_per_batch)


def first_validation(trainer: Trainer, data: PromptDataModule) -> tuple[int, int]:
    """Return the batches of an epoch, and the number of the batch after which the run is validated for the first time.

    Batches count over all epochs from the beginning of the run, also if it resumes. The second number is 0 if it is
    never validated, or at times that are not known.
    """
    every = getattr(trainer, "val_check_interval", None)  # Lightning leaves it out if the interval is a time
    batches = _epoch_batches(trainer, data)
    validates = trainer.limit_val_batches != 0 and any(data.examples.get("val", {}).values())
    if every is None or not batches or not validates:
        return batches, 0
    within = every if isinstance(every, int) else max(int(batches * every), 1)  # a share of an epoch
    return batches, within + batches * ((trainer.check_val_every_n_epoch or 1) - 1)


def warn_of_no_validation_data(trainer: Trainer, data: PromptDataModule) -> None:
    """Warn that a configuration whose data has no validation rows measures nothing.

    Args:
        trainer: The run's trainer; there is no warning if it disables validation.
        data: Data without validation rows.
    """
    if trainer.limit_val_batches != 0:
        rank_zero_warn(
            "val data: expected rows, got none, so that `fit` measures nothing while it trains and `validate` fails; "
            f"{remedy_without_rows(type(data), 'val')}"
        )


def _warn_of_no_validation(trainer: Trainer, batches: int, first: int, updates_per_batch: int) -> None:
    """Warn if a run ends before its first validation, which is due after the batch ``first``."""
    epochs = trainer.check_val_every_n_epoch
    setting = "val_check_interval" if epochs in (None, 1) else "check_val_every_n_epoch"
    most = math.inf if trainer.max_epochs in (None, -1) else batches * trainer.max_epochs
    step = (first - 1) * updates_per_batch + 1
    if first > most:
        value, limit, what = (
            (first, most, "batches of all epochs")
            if epochs is None
            else (epochs, trainer.max_epochs, "epochs of the run")
        )
        rank_zero_warn(
            f"`trainer.{setting}`: expected at most {limit}, the {what}, got {value}, so the run is never validated; "
            "lower it, or raise trainer.max_epochs"
        )
    elif 0 < trainer.max_steps < step:
        rank_zero_warn(
            f"`trainer.max_steps`: expected at least {step}, the step of the first validation, got "
            f"{trainer.max_steps}, so the run is never validated; raise it, or lower trainer.{setting}"
        )


def _epoch_batches(trainer: Trainer, data: PromptDataModule) -> int:
    """Return the batches of an epoch on one rank; 0 if they are not known."""
    batches = sized_len(data.train_dataloader()) or 0
    limit = trainer.limit_train_batches
    return int(batches * limit) if isinstance(limit, float) else min(batches, limit)
