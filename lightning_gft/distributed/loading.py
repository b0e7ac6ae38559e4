"""Loading the same policy on every rank, and sharding it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar, cast

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ParallelStrategy
from torch import nn
from transformers import PreTrainedModel

from lightning_gft.checkpoint import weight_digests
from lightning_gft.distributed.sharding import FullySharded, Sharding
from lightning_gft.distributed.strategy import FSDP2Strategy
from lightning_gft.errors import GFTValueError


class Shardable(Protocol):
    """The parts of a policy, itself a module, that loading and sharding use."""

    sharding: Sharding

    @property
    def model(self) -> PreTrainedModel:
        """The model to train."""

    @property
    def reference_model(self) -> PreTrainedModel | None:
        """A frozen copy of the model, if one is kept."""

    @property
    def is_quantised(self) -> bool:
        """Whether some weights are packed into few bits."""


Loaded = TypeVar("Loaded", bound=Shardable)


def load_policy(load: Callable[[], Loaded], trainer: Trainer | None) -> Loaded:
    """Load the same policy on every rank, and shard it if the strategy shards weights.

    To shard it, the ranks of a machine load one after the other, so that its memory holds one whole model at a time.

    Args:
        load: Function that loads the policy.
        trainer: Trainer whose strategy is used; ``None`` for a single process.

    Raises:
        ValueError: If ranks have loaded different weights.
    """
    strategy = None if trainer is None else trainer.strategy
    if trainer is None or not isinstance(strategy, ParallelStrategy):
        return load()
    _share_rng_state(strategy)
    if not isinstance(strategy, FSDP2Strategy):
        return load()
    for turn in range(strategy.num_processes):
        if turn == strategy.local_rank:
            policy = load()
            digests = weight_digests(cast(nn.Module, policy))
            policy.sharding = _shard(policy, strategy, trainer.precision)
        strategy.barrier()
    _check_same(digests)
    return policy


def _share_rng_state(strategy: ParallelStrategy) -> None:
    """Make fresh weights and adapters, which are random, the same on every rank."""
    torch.set_rng_state(strategy.broadcast(torch.get_rng_state()))
    if (device := strategy.root_device).type == "cuda":
        torch.cuda.set_rng_state(strategy.broadcast(torch.cuda.get_rng_state(device)), device)


def _shard(policy: Shardable, strategy: FSDP2Strategy, precision: str) -> FullySharded:
    casts = precision == "bf16-mixed" and not policy.is_quantised  # a cast would destroy packed bits
    return FullySharded(
        cast(nn.Module, policy),
        [model for model in (policy.model, policy.reference_model) if model is not None],
        strategy.device_mesh["data_parallel"],
        strategy.reshard_after_forward,
        strategy.cpu_offload,
        torch.bfloat16 if casts else None,
    )


def _check_same(digests: dict[str, str]) -> None:
    of_ranks: list[dict[str, str]] = [{}] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(of_ranks, digests)
    for rank, others in enumerate(of_ranks):
        differing = [name for name, digest in of_ranks[0].items() if others.get(name) != digest]
        if differing:
            raise GFTValueError(
                f"`model.policy`: expected the same weights on every rank, got others than rank 0's on rank {rank} for "
                f"{differing[0]} and {len(differing) - 1} more; give all machines the same files"
            )
