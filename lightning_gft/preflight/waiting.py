"""Checks that validation figures are measured before callbacks and stages that monitor them need them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities import rank_zero_warn

from lightning_gft.data import PromptDataModule
from lightning_gft.errors import GFTValueError
from lightning_gft.preflight.validation import first_validation

_OF_VALIDATION = re.compile(r"([^/]+/)?val/")
"""Prefix of the names of validation figures, perhaps after the name of a stage."""


def check_waiting(
    trainer: Trainer, data: PromptDataModule, updates_per_batch: int, certain: bool, stages: Mapping[str, str]
) -> None:
    """Raise an error for a callback that ends the run for lack of a figure, and warn of figures that never come.

    A run that resumes has the figures of its checkpoint, and may be past the epoch that lacks them: it has no error.

    Args:
        trainer: A trainer that begins to train, with the state of its checkpoint; or one that only describes a fit.
        data: The training and validation data, tokenised.
        updates_per_batch: The fewest optimizer steps that the run takes on a batch.
        certain: Whether only validation can log the figures; otherwise the error is a warning.
        stages: Figures that stages wait for, by the setting that names them.

    Raises:
        ValueError: If a strict ``EarlyStopping`` looks for its figure before it is measured.
    """
    batches, first = first_validation(trainer, data)
    last = last_batch(trainer, batches, updates_per_batch)
    if trainer.fast_dev_run or last == 0 or first <= min(batches, last):  # type: ignore[attr-defined]
        return
    resumes = trainer.fit_loop.epoch_loop.total_batch_idx >= 0
    waiting = [*stages.items()]
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        if not (isinstance(monitor, str) and _OF_VALIDATION.match(monitor)) or monitor in trainer.callback_metrics:
            continue
        setting = f"{type(callback).__name__}.monitor"
        if resumes or not (isinstance(callback, EarlyStopping) and _needs_it_at_end_of_epoch(trainer, callback)):
            waiting.append((setting, monitor))
            continue
        complaint = (
            f"`{setting}`: expected a figure that is logged before the end of the first epoch, got {monitor!r}, which "
            f"is first measured after batch {first} while the epoch ends after batch {min(batches, last):g}; "
            "lower trainer.val_check_interval or trainer.check_val_every_n_epoch, raise trainer.max_steps, or set "
            "`strict: false`"
        )
        if certain:
            raise GFTValueError(complaint)
        rank_zero_warn(f"{complaint}. This is no error only if code of your own logs it")
    for setting, monitor in waiting if first > last else ():
        rank_zero_warn(
            f"`{setting}`: expected a figure that is logged, got {monitor!r}, which is never measured, so it has no "
            "effect; see the warning of a run that is never validated"
        )


def last_batch(trainer: Trainer, batches: int, updates_per_batch: int) -> float:
    """Return the number of the last batch that a run can have over all epochs; infinity without a limit.

    Example:
        >>> trainer = Trainer(max_steps=5, max_epochs=9, logger=False, accelerator="cpu", enable_checkpointing=False)
        >>> last_batch(trainer, 4, 2)
        3
    """
    by_epochs = math.inf if trainer.max_epochs in (None, -1) else batches * trainer.max_epochs
    by_steps = math.inf if trainer.max_steps == -1 else math.ceil(trainer.max_steps / updates_per_batch)
    return min(by_epochs, by_steps)


def _needs_it_at_end_of_epoch(trainer: Trainer, callback: EarlyStopping) -> bool:
    """Return whether a callback is strict, and looks for its figure as an epoch ends rather than as a validation does.

    A callback that looks after validations only is idle in a run without any.
    """
    given = callback._check_on_train_epoch_end
    with_epochs = trainer.val_check_interval == 1.0 and trainer.check_val_every_n_epoch == 1
    return callback.strict and (with_epochs if given is None else given)
