"""Drawing for a batch, and passing the prompts of later batches to sources that prepare for them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from lightning.pytorch.trainer.states import TrainerFn

from lightning_gft.data import PromptLoader
from lightning_gft.seeds import combine_seeds
from lightning_gft.types import PromptBatch
from lightning_gft.waiting import abandonable


def batch_seed(module: Any, seed: int, batch: PromptBatch, *position: int) -> int:
    """Return the seed that determines all responses to a batch.

    Args:
        module: The :class:`~lightning_gft.GFTLitModule` that samples.
        seed: Seed of the run, or of its evaluation.
        batch: The prompts; the rank enters the seed only if their places in the data are unknown.
        position: Epoch or number of the dataloader, followed by the number of the batch.
    """
    return combine_seeds(seed, *position, batch.seed_rank(module.global_rank))


@contextmanager
def drawing(module: Any) -> Iterator[None]:
    """Context in which a module draws for a batch and ahead, until a request to stop ends the draws.

    Ranks gather weights together, once: the number of draws may differ between them. A prediction has gathered them
    for all of its batches, since ranks may have different numbers of batches.

    Args:
        module: The :class:`~lightning_gft.GFTLitModule` that draws.
    """
    with module.policy.drawing() if module.sampler.draws() else nullcontext(), abandonable():
        yield


def prepare_ahead(module: Any, batch: PromptBatch, batch_idx: int, dataloader_idx: int | None = None) -> None:
    """Make the sources of a module prepare for a batch, and for the later batches of this rank that they look ahead to.

    Batches that the run will not reach, or whose groups are on disk, are skipped. Later batches are only known with
    the dataloaders of this package.

    Args:
        module: The :class:`~lightning_gft.GFTLitModule`, in training or prediction.
        batch: The batch that is about to be sampled.
        batch_idx: Number of the current batch.
        dataloader_idx: Number of the dataloader, in prediction.
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
    """Return the next batches, with ``None`` for batches whose groups are on disk."""
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
