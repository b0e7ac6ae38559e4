"""What a run has already, so that advice does not recommend it."""

from __future__ import annotations

from collections.abc import Iterator

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_gft.losses import GroupLoss
from lightning_gft.module import GFTLitModule
from lightning_gft.parts import CompositePart, Part
from lightning_gft.sources import SourceWrapper
from lightning_gft.types import Source

DEMONSTRATIONS = "demonstrations"
"""Stands for any source of demonstrations."""
_OPTIONS = ("mask_truncated_completions", "epsilon_high")


def names_in_place(trainer: Trainer, module: GFTLitModule) -> frozenset[str]:
    """Return the classes of the parts of the current stage, with their bases, and the options that are set.

    The options are ``num_groups``, ``mask_truncated_completions``, ``epsilon_high`` of any value, ``updates_per_batch``
    above 1, the reductions of losses by their names, and the figures by which a ``ModelCheckpoint`` keeps the best.
    """
    sampler = module.sampler
    names = {kind.__name__ for part in _parts(trainer, module) for kind in type(part).__mro__}
    for loss in _within(module.loss):
        if isinstance(loss, GroupLoss):
            names |= {loss.reduction, *(option for option in _OPTIONS if getattr(loss, option, None))}
    if any(source.source != Source.SELF for source in sampler.sources.values()):
        names.add(DEMONSTRATIONS)
    names |= {"num_groups"} if sampler.num_groups is not None else set()
    names |= {"updates_per_batch"} if module.updates_per_batch > 1 else set()
    keepers = [keeper for keeper in trainer.checkpoint_callbacks if isinstance(keeper, ModelCheckpoint)]
    return frozenset(names | {keeper.monitor for keeper in keepers if keeper.monitor})


def _parts(trainer: Trainer, module: GFTLitModule) -> Iterator[object]:
    """Yield the parts of the current stage, those within others, and the filter of the data."""
    sampler = module.sampler
    for part in (module.loss, sampler.advantage, sampler.total, *sampler.rewards.values()):
        yield from _within(part)
        yield getattr(part, "reward", None)  # of a reward in a process of its own
    for source in sampler.sources.values():
        yield from _sources(source)
    yield getattr(getattr(trainer, "datamodule", None), "keep", None)


def _within(part: Part) -> Iterator[Part]:
    yield part
    for inner in part.within() if isinstance(part, CompositePart) else ():
        yield from _within(inner)


def _sources(source: object) -> Iterator[object]:
    yield source
    if isinstance(source, SourceWrapper):
        yield from _sources(source.within)
