"""Strategies that can train a policy."""

from __future__ import annotations

from lightning.pytorch.strategies import (
    DeepSpeedStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    Strategy,
    StrategyRegistry,
)

from lightning_gft.distributed.strategy import FSDP2Strategy
from lightning_gft.errors import GFTValueError

_UNSUPPORTED = (DeepSpeedStrategy, FSDPStrategy)
_PRECISIONS = ("32-true", "bf16-mixed", "bf16-true")


def check_strategy_name(name: str) -> None:
    """Check that a strategy can train a policy, before Lightning builds it.

    Args:
        name: Name that Lightning has registered, or a class path.

    Raises:
        ValueError: If the strategy is not supported.

    Example:
        >>> check_strategy_name("fsdp")
        >>> check_strategy_name("fsdp_cpu_offload")
        Traceback (most recent call last):
        lightning_gft.errors.GFTValueError: `trainer.strategy`: expected auto, ddp or fsdp2, got fsdp_cpu_offload; use
        lightning_gft.FSDP2Strategy, which shards weights, or ddp where a model fits on each device
    """
    kind = StrategyRegistry[name]["strategy"] if name in StrategyRegistry else None
    if kind in _UNSUPPORTED or name.rpartition(".")[2] in [each.__name__ for each in _UNSUPPORTED]:
        raise _unsupported(name)


def check_strategy(strategy: Strategy, precision: str) -> None:
    """Check that a strategy can train a policy, and turn Lightning's strategy for FSDP2 into :class:`FSDP2Strategy`.

    Args:
        strategy: The trainer's strategy, with its process group initialised.
        precision: The trainer's precision, such as ``"bf16-mixed"``.

    Raises:
        ValueError: If the strategy, or its combination with the precision, is not supported.
    """
    name = type(strategy).__name__
    if isinstance(strategy, _UNSUPPORTED):
        raise _unsupported(name)
    if not isinstance(strategy, ModelParallelStrategy):
        return
    if type(strategy) not in (ModelParallelStrategy, FSDP2Strategy):
        raise _unsupported(name)
    if (size := strategy.device_mesh["tensor_parallel"].size()) > 1:
        raise GFTValueError(
            f"`tensor_parallel_size` of {name}: expected 1, got {size}; use fsdp2, which shards weights over all ranks"
        )
    if precision not in _PRECISIONS:
        raise GFTValueError(
            f"`trainer.precision`: expected {', '.join(_PRECISIONS)} with {name}, got {precision}; the policy's "
            "torch_dtype sets the data type of the weights"
        )
    if type(strategy) is ModelParallelStrategy:
        strategy.__class__ = FSDP2Strategy  # its checkpoints hold only trained weights, and fit any number of ranks


def _unsupported(name: str) -> GFTValueError:
    return GFTValueError(
        f"`trainer.strategy`: expected auto, ddp or fsdp2, got {name}; use lightning_gft.FSDP2Strategy, which shards "
        "weights, or ddp where a model fits on each device"
    )
