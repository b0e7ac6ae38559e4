"""Checks that a run is long enough for the validations that its settings ask for."""

from __future__ import annotations

from lightning.fabric.utilities.data import sized_len
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn

from lightning_gft.data import PromptDataModule
from lightning_gft.errors import GFTValueError


def check_validation_interval(trainer: Trainer, data: PromptDataModule) -> None:
    """Raise an error for a validation that is due after the end of the epoch, and warn of one after that of all epochs.

    Lightning raises that error too, but only when the policy is loaded, and it does not name the settings.

    Args:
        trainer: A trainer that is about to fit, or only describes a fit.
        data: The training and validation data, tokenised.

    Raises:
        ValueError: If the interval is counted within epochs and exceeds them.
    """
    every = getattr(trainer, "val_check_interval", None)  # Lightning leaves it out if the interval is a time
    batches = _epoch_batches(trainer, data)
    validates = trainer.limit_val_batches != 0 and any(data.examples.get("val", {}).values())
    if not isinstance(every, int) or not batches or not validates:
        return  # a share of an epoch, or a time, suits data of any size
    if trainer.check_val_every_n_epoch is not None:
        if every > batches:
            raise GFTValueError(
                f"`trainer.val_check_interval`: expected at most {batches}, the batches of an epoch, got {every}; set "
                "`trainer.check_val_every_n_epoch: null` to count batches over epochs, or lower it"
            )
    elif trainer.max_epochs not in (None, -1) and every > (most := batches * trainer.max_epochs):
        rank_zero_warn(
            f"`trainer.val_check_interval`: expected at most {most}, the batches of all epochs, got {every}, so the "
            "run is never validated; lower it, or raise trainer.max_epochs"
        )


def _epoch_batches(trainer: Trainer, data: PromptDataModule) -> int:
    """Return the batches of an epoch on one rank; 0 if they are not known."""
    batches = sized_len(data.train_dataloader()) or 0
    limit = trainer.limit_train_batches
    return int(batches * limit) if isinstance(limit, float) else min(batches, limit)
