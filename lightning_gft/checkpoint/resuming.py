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
        epoch: Epochs that are over.
        batch: Batches of the epoch in progress.
        batches: Batches of all epochs.
        ends_epoch: Whether the last batch of the epoch was trained on, and the epoch is not over yet.
    """

    epoch: int
    batch: int
    batches: int
    ends_epoch: bool


def normalize_loop_state(loop: dict[str, Any]) -> Position:
    """Rewrite the state of Lightning's fit loop as it is between two steps, and return where that is.

    Lightning's counts depend on the hook in which a checkpoint was written, and on what ended the run: an epoch that
    ``max_steps`` cut short counts as over, so that the rest of it would be skipped; a validation that was interrupted
    would begin in its middle, and measure the rest.

    Args:
        loop: The checkpoint's state of the loop, which is changed.
    """
    epochs, batches = loop[_EPOCHS], loop[_BATCHES]
    total, current = batches["total"]["processed"], batches["current"]["processed"]
    # The flag is of the batch that was fetched last, which need not have been trained on.
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
        if loader.get("epoch") == position.epoch and "batches" in loader:  # ours
            loader["batches"] = current  # a batch may have been fetched that was not trained on
    return position


def keep_best(checkpoint: dict[str, Any], callbacks: Iterable[Any]) -> None:
    """Let each ``ModelCheckpoint`` remember the best of its run, though the resumed one has a folder of its own.

    Args:
        checkpoint: Lightning's, which is changed.
        callbacks: The trainer's that keep checkpoints.
    """
    states = checkpoint.get("callbacks", {})
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.state_key in states:
            states[callback.state_key]["dirpath"] = callback.dirpath


def check_same_path(trainer: Trainer) -> None:
    """Refuse different checkpoints on different ranks, each of which resolves a name such as ``last`` by itself.

    Args:
        trainer: About to load.

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
    """Resumes a run after the step of its checkpoint, and validates first if that was due and had not been done.

    Args:
        checkpoint: Lightning's, whose count of epochs and batches is put in order.
        validated: Batches that had been trained on at the last validation.
        trainer: About to train.
    """

    def __init__(self, checkpoint: dict[str, Any], validated: int, trainer: Trainer) -> None:
        self.position = normalize_loop_state(checkpoint["loops"]["fit_loop"])
        # What was due at the end of an epoch has been done before the next one.
        self._missing = self.position.batch > 0 and self.position.batches != validated
        keep_best(checkpoint, trainer.checkpoint_callbacks)
        self._all_taken = 0 <= trainer.max_steps <= checkpoint["global_step"]
        self._max_steps = trainer.max_steps

    def lift_limit(self, trainer: Trainer) -> None:
        """Let a run that has taken all its steps begin, if its last validation is missing.

        Args:
            trainer: With optimizer and schedule, whose length may follow from ``max_steps``.
        """
        if self._missing and self._all_taken:
            trainer.fit_loop.epoch_loop.max_steps = -1

    def begin(self, trainer: Trainer) -> bool:
        """Lead Lightning to the first thing to do, and tell whether it is the missing validation.

        Otherwise it is the next batch, which may be of the next epoch.

        Args:
            trainer: In ``on_train_start``, with the state of the checkpoint.
        """
        _load_data_state(trainer)
        loop, position = trainer.fit_loop.epoch_loop, self.position
        due = _is_due(trainer, position.batches, position.batch, position.ends_epoch)
        validates = due and self._missing and sum(trainer.num_val_batches) > 0
        if validates:
            self.lift_limit(trainer)
            # Lightning validates first where a validation was begun, and not finished.
            loop.val_loop.batch_progress.increment_ready()
            loop.val_loop.batch_progress.increment_started()
            loop.val_loop.batch_progress.reset_on_run()  # from the first batch
        elif position.ends_epoch and not due:  # Lightning would look for one more batch
            trainer.fit_loop.epoch_progress.increment_processed()
            trainer.fit_loop.epoch_progress.increment_completed()
            loop.batch_progress.reset_on_run()
            due = _is_due(trainer, position.batches, 0, False)
        # Where a validation is due, Lightning counts the batch again, whether it validates or has done so.
        loop.on_load_checkpoint({"_batches_that_stepped": position.batches - due})
        trainer.fit_loop.update_restart_stage()
        return validates

    def restore_limit(self, trainer: Trainer) -> None:
        """Let ``max_steps`` end the run again.

        Args:
            trainer: The same.
        """
        trainer.fit_loop.epoch_loop.max_steps = self._max_steps


def _load_data_state(trainer: Trainer) -> None:
    """Take the data to where they were, if they were set up before: a schedule that lasts as long as the run does that.

    Lightning loads their state only when it sets them up.
    """
    loop = trainer.fit_loop
    if loop._combined_loader_states_to_load and loop._data_fetcher is not None:
        loop._load_combined_loader_states()
        iter(loop._data_fetcher)


def _is_due(trainer: Trainer, batches: int, batch: int, ends_epoch: bool) -> bool:
    """Tell whether Lightning validates after a batch; a clock of validations begins with the run."""
    every = trainer.check_val_every_n_epoch
    if not trainer.enable_validation or (every is not None and (trainer.current_epoch + 1) % every):
        return False
    interval = trainer.val_check_batch
    if interval is None or interval == math.inf:
        return interval is not None and ends_epoch
    return (batches if every is None else batch) % interval == 0
