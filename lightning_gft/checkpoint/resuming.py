"""Where a resumed run begins: after the step of its checkpoint, with the validation that was due there."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_gft.errors import GFTValueError

_COUNTS = ("ready", "started", "processed", "completed")
_EPOCHS, _BATCHES, _VALIDATION = "epoch_progress", "epoch_loop.batch_progress", "epoch_loop.val_loop.batch_progress"


@dataclass(frozen=True)
class Position:
    """How many batches a run had trained on when a checkpoint was written.

    Args:
        epoch: Number of completed epochs.
        batch: Batches of the epoch in progress.
        batches: Batches of all epochs.
        ends_epoch: Whether the last batch of the epoch was trained on, but the epoch has not been completed.
    """

    epoch: int
    batch: int
    batches: int
    ends_epoch: bool


def normalize_loop_state(loop: dict[str, Any]) -> Position:
    """Set the state of Lightning's fit loop to that between two steps, and return the position in the run.

    Lightning's counts depend on the hook that wrote a checkpoint, and on what ended the run. An epoch that
    ``max_steps`` cut short counts as completed, so that the rest of it would be skipped. A validation that was
    interrupted would resume in the middle, and measure only the rest.

    Args:
        loop: The checkpoint's state of the loop, which is changed in place.
    """
    epochs, batches = loop[_EPOCHS], loop[_BATCHES]
    total, current = batches["total"]["processed"], batches["current"]["processed"]
    # The flag refers to the batch that was fetched last, which need not have been trained on.
    at_end = batches["is_last_batch"] and batches["current"]["ready"] == current
    in_epoch = epochs["total"]["started"] > epochs["total"]["processed"]
    cut_short = not in_epoch and current > 0 and not at_end
    if not (in_epoch or cut_short):
        current = 0
    position = Position(epochs["total"]["processed"] - cut_short, current, total, in_epoch and at_end)
    for counts in epochs.values():
        over = counts["processed"] - cut_short
        begun = over + (in_epoch or cut_short)
        counts.update(ready=begun, started=begun, processed=over, completed=over)
    batches["total"].update(dict.fromkeys(_COUNTS, total))
    batches["current"].update(dict.fromkeys(_COUNTS, current))
    batches["is_last_batch"] = position.ends_epoch
    for counts in (loop[_VALIDATION]["total"], loop[_VALIDATION]["current"]):
        counts.update(dict.fromkeys(_COUNTS, 0))
    loop[_VALIDATION]["is_last_batch"] = False
    for loader in loop.get("state_dict", {}).get("combined_loader", []):
        if loader.get("epoch") == position.epoch and "batches" in loader:  # a loader of this package
            loader["batches"] = current  # a batch may have been fetched but not trained on
    return position


def keep_best(checkpoint: dict[str, Any], callbacks: Iterable[Any]) -> None:
    """Let each ``ModelCheckpoint`` remember the best of its run, although this run has another folder.

    Args:
        checkpoint: Lightning's checkpoint, which is changed in place.
        callbacks: The trainer's checkpoint callbacks.
    """
    states = checkpoint.get("callbacks", {})
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.state_key in states:
            states[callback.state_key]["dirpath"] = callback.dirpath


def leave_out_unread(checkpoint: dict[str, Any], callbacks: Iterable[Any]) -> None:
    """Remove the states of callbacks that a trainer lacks: an evaluation needs none of them, and Lightning warns.

    Args:
        checkpoint: Lightning's checkpoint, which is changed in place.
        callbacks: The trainer's callbacks.
    """
    states = checkpoint.get("callbacks", {})
    for key in states.keys() - {callback.state_key for callback in callbacks}:
        del states[key]


def check_same_path(trainer: Trainer) -> None:
    """Check that all ranks resolve ``ckpt_path``, which may be a name such as ``last``, to the same checkpoint.

    Args:
        trainer: A trainer before loading.

    Raises:
        ValueError: If this rank has resolved it to another checkpoint than rank 0.
    """
    if (own := trainer.ckpt_path) is None:
        return
    first = trainer.strategy.broadcast(str(own))
    if first != str(own):
        raise GFTValueError(
            f"`ckpt_path`: expected one checkpoint for all ranks, got {own} on rank {trainer.global_rank} and {first} "
            "on rank 0; give its path"
        )


class Resumption:
    """Resumes a run after the step of its checkpoint, with a validation first if one was due and is missing.

    Args:
        checkpoint: Lightning's checkpoint, whose counts of epochs and batches are normalised in place.
        validated: Batches that had been trained on at the last validation.
        trainer: A trainer before training.
    """

    def __init__(self, checkpoint: dict[str, Any], validated: int, trainer: Trainer) -> None:
        self.position = normalize_loop_state(checkpoint["loops"]["fit_loop"])
        # A validation due at the end of an epoch was done before the next epoch began.
        self._missing = self.position.batch > 0 and self.position.batches != validated
        keep_best(checkpoint, trainer.checkpoint_callbacks)
        self._all_taken = 0 <= trainer.max_steps <= checkpoint["global_step"]
        self._max_steps = trainer.max_steps

    def lift_limit(self, trainer: Trainer) -> None:
        """Lift ``max_steps`` so that a completed run can start, if its last validation is missing.

        Args:
            trainer: Trainer with its optimizer and schedule, whose length may follow from ``max_steps``.
        """
        if self._missing and self._all_taken:
            trainer.fit_loop.epoch_loop.max_steps = -1

    def begin(self, trainer: Trainer) -> bool:
        """Set up Lightning's loops for the resumed run, and return whether it begins with the missing validation.

        Otherwise it begins with the next batch, which may be in the next epoch.

        Args:
            trainer: Trainer in ``on_train_start``, with the state of the checkpoint loaded.
        """
        _load_data_state(trainer)
        loop, position = trainer.fit_loop.epoch_loop, self.position
        due = _is_due(trainer, position.batches, position.batch, position.ends_epoch)
        validates = due and self._missing and sum(trainer.num_val_batches) > 0
        if validates:
            self.lift_limit(trainer)
            # Lightning validates first if a validation was begun and not finished.
            loop.val_loop.batch_progress.increment_ready()
            loop.val_loop.batch_progress.increment_started()
            loop.val_loop.batch_progress.reset_on_run()  # from the first batch
        elif position.ends_epoch and not due:  # Lightning would look for one more batch
            trainer.fit_loop.epoch_progress.increment_processed()
            trainer.fit_loop.epoch_progress.increment_completed()
            loop.batch_progress.reset_on_run()
            due = _is_due(trainer, position.batches, 0, False)
        # Where a validation is due, Lightning counts the batch again, whether it validates or already did.
        loop.on_load_checkpoint({"_batches_that_stepped": position.batches - due})
        trainer.fit_loop.update_restart_stage()
        return validates

    def restore_limit(self, trainer: Trainer) -> None:
        """Apply ``max_steps`` again.

        Args:
            trainer: The trainer of :meth:`lift_limit`.
        """
        trainer.fit_loop.epoch_loop.max_steps = self._max_steps


def _load_data_state(trainer: Trainer) -> None:
    """Move the data to the position of the checkpoint if they were set up before it was loaded.

    Lightning loads their state only when it sets them up. A schedule as long as the run sets them up earlier.
    """
    loop = trainer.fit_loop
    if loop._combined_loader_states_to_load and loop._data_fetcher is not None:
        loop._load_combined_loader_states()
        iter(loop._data_fetcher)


def _is_due(trainer: Trainer, batches: int, batch: int, ends_epoch: bool) -> bool:
    """Return whether Lightning validates after a batch; time-based validations start with the run."""
    every = trainer.check_val_every_n_epoch
    if not trainer.enable_validation or (every is not None and (trainer.current_epoch + 1) % every):
        return False
    interval = trainer.val_check_batch
    if interval is None or interval == math.inf:
        return interval is not None and ends_epoch
    return (batches if every is None else batch) % interval == 0
