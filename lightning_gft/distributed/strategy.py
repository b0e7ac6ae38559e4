"""The strategy that shards weights over ranks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy, Strategy, StrategyRegistry
from torch.distributed.constants import default_pg_timeout
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from typing_extensions import override

from lightning_gft.checkpoint import load_checkpoint
from lightning_gft.checkpoint.resharding import join, layout_of, parameter_names, split
from lightning_gft.checkpoint.sharded import is_sharded, read_shards, write_shards
from lightning_gft.errors import GFTValueError


class FSDP2Strategy(ModelParallelStrategy):
    """FSDP2 over all ranks: each rank holds a shard of every weight, gradient and optimizer state.

    ``--trainer.strategy=fsdp`` and ``fsdp2`` select it with its defaults.

    Args:
        reshard_after_forward: Whether the weights of a transformer block are freed after its forward pass and gathered
            again for its backward pass. If not, they stay gathered in between: less communication, more memory.
        cpu_offload: Whether each rank keeps its shards of weights, gradients and optimizer states in the CPU's memory.
        save_distributed_checkpoint: Whether each rank writes its shards of a checkpoint, which is then a folder. If
            not, rank 0 writes all of it into one file. Any number of ranks can resume from either.
        process_group_backend: Backend by its name in torch, such as ``"nccl"``; by default the device's.
        timeout: How long a collective waits for other ranks before the run fails.

    Example:
        >>> FSDP2Strategy(reshard_after_forward=False).reshard_after_forward
        False
    """

    # Class attributes, for instances of Lightning's own class that become instances of this one.
    reshard_after_forward: bool = True
    cpu_offload: bool = False

    def __init__(
        self,
        reshard_after_forward: bool = True,
        cpu_offload: bool = False,
        save_distributed_checkpoint: bool = True,
        process_group_backend: str | None = None,
        timeout: timedelta | None = default_pg_timeout,
    ) -> None:
        super().__init__("auto", 1, save_distributed_checkpoint, process_group_backend, timeout)
        self.reshard_after_forward = reshard_after_forward
        self.cpu_offload = cpu_offload

    @override
    def setup_environment(self) -> None:
        if self._data_parallel_size == "auto":
            self._data_parallel_size = self.num_nodes * self.num_processes
        if self.cpu_offload and self.root_device.type == "cuda" and self._process_group_backend is None:
            self._process_group_backend = "cpu:gloo,cuda:nccl"  # shards on the CPU need gloo
        super().setup_environment()

    @override
    def setup_optimizers(self, trainer: Trainer) -> None:
        super().setup_optimizers(trainer)
        for optimizer in self.optimizers:
            kind = type(optimizer)
            if kind.__module__.startswith("bitsandbytes."):
                raise GFTValueError(
                    f"`model.optimizer`: expected one of torch's with sharded weights, got {kind.__module__}."
                    f"{kind.__name__}; use torch.optim.AdamW, whose states are sharded too, or trainer.strategy: ddp"
                )

    @override
    def model_to_device(self) -> None:
        assert self.model is not None  # noqa: S101 (set by Lightning)
        if not self.cpu_offload:
            super().model_to_device()
            return
        for module in self.model.modules():  # sharded weights stay on the CPU
            if not any(isinstance(weight, DTensor) for weight in module.parameters()):
                module.to(self.root_device)

    @property
    @override
    def lightning_restore_optimizer(self) -> bool:
        return True  # as without sharding: after the checkpoint has been checked to belong to the run

    @override
    def lightning_module_state_dict(self) -> dict[str, Any]:
        return Strategy.lightning_module_state_dict(self)

    @override
    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        Strategy.load_model_state_dict(self, checkpoint, strict)

    @override
    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        return Strategy.optimizer_state(self, optimizer)

    @override
    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        # The optimizer puts states on the device of its weights, which need not be the root device.
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            optimizer.load_state_dict(state)

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any | None = None
    ) -> None:
        path = self.broadcast(filepath)
        assert self.lightning_module is not None  # noqa: S101 (set by Lightning)
        if self._save_distributed_checkpoint:
            if "://" in str(path) or storage_options is not None:
                raise GFTValueError(
                    f"`dirpath`: expected a local folder for shards, got {path}; give one, or set "
                    "save_distributed_checkpoint: false of FSDP2Strategy"
                )
            write_shards(checkpoint, self.lightning_module, self._parameter_names(), Path(path))
        else:
            whole = join(checkpoint, self.lightning_module, keep=self.is_global_zero)
            Strategy.save_checkpoint(self, whole, path, storage_options)

    @override
    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        path = self.broadcast(checkpoint_path)
        module = self.lightning_module
        assert module is not None  # noqa: S101 (set by Lightning)
        if is_sharded(path):
            return read_shards(path, layout_of(module))
        # The file is memory-mapped: each rank reads only what it keeps.
        checkpoint = Strategy.load_checkpoint(self, path, True) if "://" in str(path) else load_checkpoint(Path(path))
        return split(checkpoint, module, self._parameter_names())

    def _parameter_names(self) -> list[list[str]]:
        assert self.lightning_module is not None  # noqa: S101 (set by Lightning)
        return [parameter_names(self.lightning_module, optimizer) for optimizer in self.optimizers]


def register() -> None:
    """Register ``fsdp`` and ``fsdp2`` as names of this strategy; Lightning uses the first for FSDP1, on GPUs only."""
    for name in ("fsdp", "fsdp2"):
        StrategyRegistry.register(name, FSDP2Strategy, "FSDP2 over all ranks", override=True)
    if "fsdp" in (on_gpus := FSDPStrategy.get_registered_strategies()):
        on_gpus.remove("fsdp")


register()
