"""Announcing the next prompts to sources."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch.trainer.states import TrainerFn

from lightning_gft.data import PromptLoader
from lightning_gft.seeds import combine_seeds
from lightning_gft.types import PromptBatch


def batch_seed(module: Any, seed: int, batch: PromptBatch, *position: int) -> int:
    """Return the seed that determines all responses to a batch.

    Args:
        module: A :class:`~lightning_gft.GFTLitModule`.
        seed: Seed of the run or of its evaluation.
        batch: Batch of prompts.
        position: Epoch, or number of the dataloader, and number of the batch.
    """
    return combine_seeds(seed, *position, batch.seed_rank(module.global_rank))


def prepare_ahead(module: Any, batch: PromptBatch, batch_idx: int, dataloader_idx: int | None = None) -> None:
    """Make the sources of a module prepare for a batch, and for as many later batches of this rank as they request.

    Batches that the run will not reach, or whose groups are on disk, are left out. Dataloaders of other packages do not
    announce their next batches.

    Args:
        module: A :class:`~lightning_gft.GFTLitModule` in training or prediction.
        batch: The current batch.
        batch_idx: Number of the current batch.
        dataloader_idx: Number of its dataloader in prediction; ``None`` in training.
    """
    wanted = module.sampler.looks_ahead()
    if not wanted:
        return
    number = module.current_epoch if dataloader_idx is None else dataloader_idx
    for later, prompts in enumerate([batch, *_upcoming(module, wanted, batch_idx, dataloader_idx or 0)]):
        if prompts is not None:
            seed = batch_seed(module, module.base_seed, prompts, number, batch_idx + later)
            module.sampler.prepare(prompts, module.policy, seed, later)


def _upcoming(module: Any, wanted: int, batch_idx: int, dataloader_idx: int) -> list[PromptBatch | None]:
    """Return the next batches, with ``None`` for those whose groups are on disk."""
    trainer, stored = module.trainer, set[int]()
    if trainer.state.fn == TrainerFn.FITTING:
        loader, batches = trainer.train_dataloader, trainer.num_training_batches
        left = math.ceil(min(module.updates.steps_left() / module.updates_per_batch, wanted + 1)) - 1
    else:
        loaders, batches = trainer.predict_dataloaders, trainer.num_predict_batches[dataloader_idx]
        loader = loaders[dataloader_idx] if isinstance(loaders, list) else loaders
        left = wanted
        stored = {number for loader_idx, number in module.stored_batches if loader_idx == dataloader_idx}
    left = min(left, batches - batch_idx - 1)
    upcoming = loader.upcoming(left) if isinstance(loader, PromptLoader) and left > 0 else []
    return [None if number in stored else prompts for number, prompts in enumerate(upcoming, start=batch_idx + 1)]
