"""From a strategy to a policy whose weights lie where it wants them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import (
    DeepSpeedStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    ParallelStrategy,
    Strategy,
)

from lightning_gft.checkpoint import weight_digests
from lightning_gft.errors import GFTValueError
from lightning_gft.policy import FlatSharded, FullySharded, Policy, Sharding
from lightning_gft.strategies.fsdp1 import FSDP1Strategy, adopt
from lightning_gft.strategies.fsdp2 import FSDP2Strategy

_PRECISIONS = ("32-true", "bf16-mixed", "bf16-true")


def check_strategy(strategy: Strategy, precision: str) -> None:
    """Refuse strategies that a policy cannot be trained with; Lightning's FSDP1 and FSDP2 become this package's.

    Args:
        strategy: The trainer's, its processes started.
        precision: The trainer's.

    Raises:
        ValueError: If it cannot be.
    """
    name = type(strategy).__name__
    if isinstance(strategy, DeepSpeedStrategy):
        raise GFTValueError(f"trainer.strategy={name} is not supported: use fsdp2, or ddp where a model fits")
    if isinstance(strategy, FSDPStrategy):
        adopt(strategy)
    elif isinstance(strategy, ModelParallelStrategy):
        _check_mesh(strategy)
    else:
        return
    if precision not in _PRECISIONS:
        raise GFTValueError(
            f"trainer.precision={precision!r} does not go with {name}: use one of {', '.join(_PRECISIONS)}, and the "
            "policy's torch_dtype for the data type of the weights"
        )
    if type(strategy) is ModelParallelStrategy:
        strategy.__class__ = FSDP2Strategy  # whose checkpoints hold what trains, and fit any number of processes


def _check_mesh(strategy: ModelParallelStrategy) -> None:
    if type(strategy) not in (ModelParallelStrategy, FSDP2Strategy):
        raise GFTValueError(
            f"trainer.strategy={type(strategy).__name__} is not supported: it is a subclass of Lightning's; use fsdp2"
        )
    size = strategy.device_mesh["tensor_parallel"].size()
    if size > 1:
        raise GFTValueError(
            f"trainer.strategy={type(strategy).__name__} with tensor_parallel_size={size}: weights are split by FSDP2 "
            "alone; use `fsdp2`, or set tensor_parallel_size to 1 and data_parallel_size to the number of processes"
        )


def load_policy(load: Callable[[], Policy], trainer: Trainer | None) -> Policy:
    """Load the same policy on every process, and let each keep what is its own.

    Where weights are split, the processes of a machine take turns, so that its memory holds one whole model at a time.

    Args:
        load: Loads it.
        trainer: Says how many processes there are; ``None`` for this one alone.

    Raises:
        ValueError: If processes have read different weights.
    """
    strategy = None if trainer is None else trainer.strategy
    if trainer is None or not isinstance(strategy, ParallelStrategy):
        return load()
    _share_chance(strategy)
    if not isinstance(strategy, FSDP1Strategy | FSDP2Strategy):
        return load()
    for turn in range(strategy.num_processes):
        if turn == strategy.local_rank:
            policy = load()
            digests = weight_digests(policy)
            policy.sharding = _shard(policy, strategy, trainer.precision)
        strategy.barrier()
    _check_same(digests)
    return policy


def _share_chance(strategy: ParallelStrategy) -> None:
    """Let fresh weights and adapters, which are drawn by chance, be the same on every process."""
    torch.set_rng_state(strategy.broadcast(torch.get_rng_state()))
    if (device := strategy.root_device).type == "cuda":
        torch.cuda.set_rng_state(strategy.broadcast(torch.cuda.get_rng_state(device)), device)


def _shard(policy: Policy, strategy: FSDP1Strategy | FSDP2Strategy, precision: str) -> Sharding:
    models = [model for model in (policy.model, policy.reference_model) if model is not None]
    casts = precision == "bf16-mixed" and not policy.is_quantised  # packed bits would be spoilt
    compute_dtype = torch.bfloat16 if casts else None
    if isinstance(strategy, FSDP1Strategy):
        if policy.adapters is not None and policy.adapters.use_dora:
            raise GFTValueError(
                "lora.use_dora does not go with fsdp, under which weights are only there within layers: use fsdp2"
            )
        strategy.precision_plugin.convert_module(policy)  # which Lightning would do to the pieces
        return FlatSharded(models, compute_dtype, **_flat_settings(strategy))
    return FullySharded(
        policy,
        models,
        strategy.device_mesh["data_parallel"],
        strategy.reshard_after_forward,
        strategy.cpu_offload,
        compute_dtype,
    )


def _flat_settings(strategy: FSDP1Strategy) -> dict[str, Any]:
    """Return what a strategy was given for torch's FSDP1."""
    precision = {} if strategy.mixed_precision is None else {"mixed_precision": strategy.mixed_precision}
    own = {"sharding_strategy": strategy.sharding_strategy, "device_id": strategy.root_device, **precision}
    # Processes take turns at loading, so none can wait for another; that weights are the same is checked afterwards.
    return {**own, **strategy.kwargs, "sync_module_states": False}


def _check_same(digests: dict[str, str]) -> None:
    everyones: list[dict[str, str]] = [{}] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everyones, digests)
    for rank, others in enumerate(everyones):
        differing = [name for name, digest in everyones[0].items() if others.get(name) != digest]
        if differing:
            raise GFTValueError(
                f"process {rank} has read other weights than process 0, in {differing[0]} and {len(differing) - 1} "
                "more: give all machines the same files"
            )
