"""The optimizer step at which a run will end, as far as it is known."""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_gft.callbacks import StageSchedule
from lightning_gft.module import GFTLitModule


def step_of_end(trainer: Trainer, module: LightningModule) -> int | None:
    """Return the optimizer step at which a fit ends, or ``None`` if it is not known.

    Batches are counted from the present position: the epochs before may have had another number of batches, if the run
    was resumed with another batch size, and some of their updates may have been skipped.

    Args:
        trainer: A trainer that trains.
        module: Its module.
    """
    limits = [] if trainer.max_steps == -1 else [trainer.max_steps]
    batches = _batches_left(trainer)
    if (schedule := stages_of(trainer)) is not None and isinstance(module, GFTLitModule):
        end = _end_of_stages(schedule, module, trainer.global_step, batches)
        return None if end is None else min([end, *limits])
    if batches is not None:
        limits.append(trainer.global_step + batches * getattr(module, "updates_per_batch", 1))
    return min(limits, default=None)


def stages_of(trainer: Trainer) -> StageSchedule | None:
    """Return the callback that runs the stages of a fit, or ``None`` if it has no stages."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, StageSchedule)), None)


def _batches_left(trainer: Trainer) -> int | None:
    """Return the batches that ``max_epochs`` leaves, or ``None`` if they are not known."""
    batches = trainer.num_training_batches
    if trainer.max_epochs in (None, -1) or not math.isfinite(batches):
        return None
    progress = trainer.fit_loop.epoch_loop.batch_progress
    epochs: Any = trainer.fit_loop.epoch_progress.current
    within: Any = progress.current
    over, done = int(epochs.processed), int(within.processed)
    if progress.is_last_batch and within.ready == done:  # the resumed epoch may have had another number of batches
        done = int(batches)
    done = min(done, int(batches)) if epochs.started > over else 0
    return max((trainer.max_epochs - over) * int(batches) - done, 0)


def _end_of_stages(schedule: StageSchedule, module: GFTLitModule, step: int, batches: int | None) -> int | None:
    """Return the step at which the last stage ends, or ``max_epochs`` before it.

    It is known if each stage left has a number of steps and no other length. If there may be too few batches for all
    of them, each stage must also take the same updates on each batch.
    """
    number, _ = module.rows.stage or (1, "")
    left = list(islice(schedule.stages.values(), number - 1, None))
    if any(stage.max_steps is None or stage.max_epochs is not None or stage.until is not None for stage in left):
        return None
    lengths = [module.updates.max_steps - step, *(stage.max_steps or 0 for stage in left[1:])]
    if batches is None or sum(lengths) <= batches:  # a batch takes one update or more
        return step + sum(lengths)
    updates = module.updates_per_batch
    are_same = len({stage.updates_per_batch for stage in left}) == 1
    if not are_same or any(length % updates for length in lengths[:-1]):  # a stage's last batch may take fewer
        return None
    return step + min(sum(lengths), batches * updates)
