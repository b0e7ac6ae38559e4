"""Several ranks: how weights are sharded over them, and the strategies that can train a policy."""

from lightning_gft.distributed.checks import check_strategy, check_strategy_name
from lightning_gft.distributed.first_rank import (
    has_several_ranks,
    is_first_rank,
    on_any_rank,
    on_first_rank,
    wait_for_ranks,
)
from lightning_gft.distributed.loading import load_policy
from lightning_gft.distributed.sharding import FullySharded, Sharding, Unsharded, compute_device
from lightning_gft.distributed.strategy import FSDP2Strategy

__all__ = [
    "FSDP2Strategy",
    "FullySharded",
    "Sharding",
    "Unsharded",
    "check_strategy",
    "check_strategy_name",
    "compute_device",
    "has_several_ranks",
    "is_first_rank",
    "load_policy",
    "on_any_rank",
    "on_first_rank",
    "wait_for_ranks",
]
