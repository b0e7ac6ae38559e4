"""Describes all settings that determine a prediction's groups: two runs with equal settings write equal groups."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import torch
from lightning.pytorch import Trainer

from lightning_gft.checkpoint import describe_sampler, identify, weight_digests
from lightning_gft.data import Example
from lightning_gft.module import GFTLitModule
from lightning_gft.stored import StoredInfo, tokenizer_fingerprint

_SHOWN = 12
"""Characters of a digest."""


def prediction_info(trainer: Trainer, module: GFTLitModule) -> StoredInfo:
    """Return the description that the shards of a prediction store. All ranks must call this; it is equal on all.

    Args:
        trainer: A trainer that predicts.
        module: The module with its policy loaded.
    """
    datasets = [getattr(loader, "dataset", None) for loader in _loaders(trainer)]
    lengths = [_length(rows) for rows in datasets]
    info = StoredInfo(
        tokenizer=tokenizer_fingerprint(module.policy.tokenizer),
        rewards={name: float(reward.weight) for name, reward in module.sampler.rewards.items()},
        settings={
            **_policy_settings(module),
            **describe_sampler(module.sampler, identify),
            "data": ", ".join(map(_describe_rows, datasets)),
            "batch_size": ", ".join(map(_batch_size, _loaders(trainer))),
            "ranks": str(trainer.world_size),
            "precision": str(trainer.precision),
            "seed": str(module.base_seed),
        },
        prompts=None if None in lengths else sum(length for length in lengths if length is not None),
    )
    return trainer.strategy.broadcast(info)


def _policy_settings(module: GFTLitModule) -> dict[str, str]:
    digests = weight_digests(module.policy.model)
    return {"policy": identify(module.policy_loader), "weights": _digest(sorted(digests.items()))}


def _describe_rows(rows: Any) -> str:
    """Return the number of rows and, for this package's datamodules, a digest of their contents."""
    if not isinstance(rows, list) or not all(isinstance(row, Example) for row in rows):
        return f"{type(rows).__name__} of {_length(rows)} rows"
    return f"{len(rows)} rows ({_digest(rows)})"


def _length(rows: Any) -> int | None:
    return len(rows) if hasattr(rows, "__len__") else None


def _batch_size(loader: Any) -> str:
    # Lightning gives data loaders of prediction a batch sampler; they then have no batch size of their own.
    return str(getattr(getattr(loader, "batch_sampler", None), "batch_size", None))


def _digest(parts: Iterable[object]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:_SHOWN]


def _loaders(trainer: Trainer) -> list[Any]:
    loaders = trainer.predict_dataloaders
    return [*loaders] if isinstance(loaders, list | tuple) else [loaders]


def gathered(value: Any) -> list[Any]:
    """Return a value of each rank, in the order of the ranks. All ranks must call this together."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [value]
    values = [value] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values
