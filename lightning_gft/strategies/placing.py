"""From a strategy to a policy whose weights lie where it wants them."""

from __future__ import annotations

from collections.abc import Callable

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
from lightning_gft.policy import FullySharded, Policy
from lightning_gft.strategies.fsdp2 import FSDP2Strategy

_PRECISIONS = ("32-true", "bf16-mixed", "bf16-true")


def check_strategy(strategy: Strategy, precision: str) -> None:
    """Refuse strategies that a policy cannot be trained with; Lightning's FSDP2 becomes this package's.

    Args:
        strategy: The trainer's, its processes started.
        precision: The trainer's.

    Raises:
        ValueError: If it cannot be.
    """
    name = type(strategy).__name__
    if isinstance(strategy, FSDPStrategy | DeepSpeedStrategy):
        raise ValueError(f"trainer.strategy={name} is not supported: use fsdp2, or ddp where a model fits")
    if not isinstance(strategy, ModelParallelStrategy):
        return
    if strategy.device_mesh["tensor_parallel"].size() > 1:
        raise ValueError(
            f"trainer.strategy={name} with tensor_parallel_size={strategy.device_mesh['tensor_parallel'].size()}: "
            "weights are split by FSDP2 alone; use `fsdp2`, or set tensor_parallel_size to 1 and data_parallel_size to "
            "the number of processes"
        )
    if precision not in _PRECISIONS:
        raise ValueError(
            f"trainer.precision={precision!r} does not go with {name}: use one of {', '.join(_PRECISIONS)}, and the "
            "policy's torch_dtype for the data type of the weights"
        )
    if type(strategy) is ModelParallelStrategy:
        strategy.__class__ = FSDP2Strategy  # whose checkpoints hold what trains, and fit any number of processes


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
    # Fresh weights and adapters are drawn by chance, which must be one for all.
    torch.set_rng_state(strategy.broadcast(torch.get_rng_state()))
    if not isinstance(strategy, FSDP2Strategy):
        return load()
    for turn in range(strategy.num_processes):
        if turn == strategy.local_rank:
            policy = load()
            digests = weight_digests(policy)
            _shard(policy, strategy, trainer.precision)
        strategy.barrier()
    _check_same(digests)
    return policy


def _shard(policy: Policy, strategy: FSDP2Strategy, precision: str) -> None:
    is_quantised = getattr(policy.model, "hf_quantizer", None) is not None  # whose bits a cast would spoil
    policy.sharding = FullySharded(
        policy,
        [model for model in (policy.model, policy.reference_model) if model is not None],
        strategy.device_mesh["data_parallel"],
        strategy.reshard_after_forward,
        strategy.cpu_offload,
        torch.bfloat16 if precision == "bf16-mixed" and not is_quantised else None,
    )


def _check_same(digests: dict[str, str]) -> None:
    everyones: list[dict[str, str]] = [{}] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everyones, digests)
    for rank, others in enumerate(everyones):
        differing = [name for name, digest in everyones[0].items() if others.get(name) != digest]
        if differing:
            raise ValueError(
                f"process {rank} has read other weights than process 0, in {differing[0]} and {len(differing) - 1} "
                "more: give all machines the same files"
            )
