"""Telling sources of the prompts that come next."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch.trainer.states import TrainerFn

from lightning_gft.data import PromptLoader
from lightning_gft.types import PromptBatch


def prepare_ahead(module: Any, batch: PromptBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
    """Let the sources of a module prepare for a batch, and for as many later ones of this rank as they want.

    Batches that the run will not reach, or whose groups are on disk, are left out. Dataloaders of others do not say
    what comes next.

    Args:
        module: A :class:`~lightning_gft.GFTLitModule` in training or prediction.
        batch: The one whose turn it is.
        batch_idx: Its number.
        dataloader_idx: Number of its dataloader in prediction.
    """
    if wanted := module.sampler.looks_ahead():
        for prompts in (batch, *_upcoming(module, wanted, batch_idx, dataloader_idx)):
            module.sampler.prepare(prompts)


def _upcoming(module: Any, wanted: int, batch_idx: int, dataloader_idx: int) -> list[PromptBatch]:
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
    return [prompts for number, prompts in enumerate(upcoming, start=batch_idx + 1) if number not in stored]
