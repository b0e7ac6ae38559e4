"""Lightning's FSDPStrategy, for a policy whose weights are split already."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import FSDPStrategy, Strategy
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import ShardingStrategy
from torch.optim import Optimizer
from typing_extensions import override

from lightning_gft.checkpoint.sharded import is_sharded, read_parts
from lightning_gft.errors import GFTValueError
from lightning_gft.policy import FlatSharded


class FSDP1Strategy(FSDPStrategy):
    """What Lightning's FSDPStrategy becomes: it wraps blocks, not the module, and writes what one process would.

    A checkpoint is one file, from which any strategy goes on, and it goes on from any other's.
    """

    @property
    def sharding(self) -> FlatSharded:
        """How the weights of the policy lie on the processes."""
        sharding = getattr(getattr(self.lightning_module, "policy", None), "sharding", None)
        assert isinstance(sharding, FlatSharded)  # noqa: S101 (configure_model has seen to it)
        return sharding

    @property
    @override
    def lightning_restore_optimizer(self) -> bool:
        return True  # like any other state, once the checkpoint has been found to belong to the run

    @override
    def _setup_model(self, model: nn.Module) -> nn.Module:
        return model.to(self.root_device)  # where the pieces of its policy are: for what else it has

    @override
    def lightning_module_state_dict(self) -> dict[str, Any]:
        with self.sharding.readable():
            state = Strategy.lightning_module_state_dict(self)
            return _copies(state) if self.is_global_zero else {}

    @override
    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        with self.sharding.writable():
            Strategy.load_model_state_dict(self, checkpoint, strict)

    @override
    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        return self.sharding.optimizer_state(
            optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        )

    @override
    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            self.sharding.load_optimizer_state(optimizer, state)

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any | None = None
    ) -> None:
        Strategy.save_checkpoint(self, checkpoint, self.broadcast(filepath), storage_options)

    @override
    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        path = self.broadcast(checkpoint_path)
        return read_parts(path) if is_sharded(path) else Strategy.load_checkpoint(self, path, weights_only=True)


def adopt(strategy: FSDPStrategy) -> None:
    """Make Lightning's strategy this package's, whose checkpoints hold what one process's do.

    Args:
        strategy: The trainer's.

    Raises:
        ValueError: If a setting of it does not go with a policy.
    """
    if isinstance(strategy, FSDP1Strategy):
        return
    for refused, setting, remedy in (
        (type(strategy) is not FSDPStrategy, "", "it is a subclass; use fsdp, or fsdp2"),
        (
            strategy._state_dict_type != "full",
            f" with state_dict_type={strategy._state_dict_type!r}",
            "it writes whole files; use fsdp2 for checkpoints in parts",
        ),
        (
            bool(strategy._activation_checkpointing_kwargs),
            " with activation_checkpointing_policy",
            "use the policy's gradient_checkpointing",
        ),
        (not strategy.kwargs["use_orig_params"], " with use_orig_params=False", "leave it out"),
        (
            strategy.cpu_offload.offload_params,
            " with cpu_offload",
            "only the last micro-batch's gradient would count; use lightning_gft.FSDP2Strategy, with cpu_offload: true",
        ),
    ):
        if refused:
            raise GFTValueError(f"trainer.strategy={type(strategy).__name__}{setting} is not supported: {remedy}")
    strategy.__class__ = FSDP1Strategy
    is_hybrid = strategy.sharding_strategy in (ShardingStrategy.HYBRID_SHARD, ShardingStrategy._HYBRID_SHARD_ZERO2)
    if is_hybrid and not strategy.kwargs.keys() & {"device_mesh", "process_group"}:
        # As torch would later, when processes take turns and cannot wait for one another.
        shape = strategy.num_nodes, strategy.num_processes
        strategy.kwargs["device_mesh"] = init_device_mesh(strategy.root_device.type, shape)


def _copies(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return tensors on the CPU that will outlast what they are copied from, a weight of several names once."""
    made: dict[tuple[int, int], Tensor] = {}
    copied = {}
    for name, value in state.items():
        if isinstance(value, Tensor):
            value = made.setdefault((value.data_ptr(), value.numel()), value.to("cpu", copy=True))
        copied[name] = value
    return copied
