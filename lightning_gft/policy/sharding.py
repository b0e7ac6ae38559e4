"""Weights that are split over processes: who holds what, and when a process has all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import MethodType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from transformers import PreTrainedModel
from typing_extensions import override

Result = TypeVar("Result")


class Sharding(ABC):
    """How the weights of a policy lie on the processes that train it."""

    @property
    def is_split(self) -> bool:
        """Whether the module's weights, outside of :meth:`readable`, may be others than on one process."""
        return True

    @abstractmethod
    def whole(self, *models: nn.Module) -> AbstractContextManager[None]:
        """Within this context every process has all weights of some models; all processes enter it together.

        Args:
            models: The policy's model, its reference, or both.
        """

    @abstractmethod
    def gradient_norm(self) -> Tensor:
        """Return the norm of the policy's gradients over the parts of all processes, the same on each of them."""

    @abstractmethod
    def clip_gradients(self, limit: float, norm: Tensor) -> None:
        """Scale the policy's gradients so that their norm is at most ``limit``.

        Args:
            limit: Largest norm.
            norm: From :meth:`gradient_norm`.
        """

    def run(self, function: Callable[[], Result]) -> Result:
        """Return what a function returns that runs the model that trains, of which it finds the weights in place.

        Args:
            function: Its forward pass, with gradient.
        """
        return function()

    def readable(self) -> AbstractContextManager[None]:
        """Within this context all weights have the names, shapes and values that they have on one process.

        Each may still be split, so long as it says so itself. All processes enter it together.
        """
        return nullcontext()


class Unsharded(Sharding):
    """Every process has all weights, all of the time.

    Args:
        policy: What is trained.
    """

    def __init__(self, policy: nn.Module) -> None:
        self._policy = policy

    @property
    @override
    def is_split(self) -> bool:
        return False

    @override
    def whole(self, *models: nn.Module) -> AbstractContextManager[None]:
        return nullcontext()

    @override
    def gradient_norm(self) -> Tensor:
        return get_total_norm([weight.grad for weight in self._policy.parameters() if weight.grad is not None])

    @override
    def clip_gradients(self, limit: float, norm: Tensor) -> None:
        clip_grads_with_norm_(self._policy.parameters(), limit, norm)


class FullySharded(Sharding):
    """FSDP2: a weight is split over all processes, and gathered with those of its block of layers where it is needed.

    Args:
        policy: The module through whose forward the model is trained; embeddings and head are whole for all of it.
        models: The models in it: the one that trains first, then maybe a reference.
        mesh: The processes.
        reshard_after_forward: Whether a block's weights are given back after its forward pass and gathered again for
            its backward pass. Else they stay in between, which takes memory and spares communication.
        cpu_offload: Whether each process keeps its part in the CPU's memory.
        compute_dtype: Data type in which the weights of blocks are gathered and used, by default their own. Gradients
            are added up over processes in float32 all the same, and embeddings and head keep their data type, so that
            what runs from block to block is as precise as under autocast.
    """

    def __init__(
        self,
        policy: nn.Module,
        models: Sequence[PreTrainedModel],
        mesh: DeviceMesh,
        reshard_after_forward: bool = True,
        cpu_offload: bool = False,
        compute_dtype: torch.dtype | None = None,
    ) -> None:
        self._reshards = reshard_after_forward
        self._whole: set[nn.Module] = set()
        # Half precision is too coarse to add gradients up in.
        half = any(weight.requires_grad and weight.element_size() < 4 for weight in policy.parameters())
        reduce_dtype = torch.float32 if half or compute_dtype is not None else None
        offload = CPUOffloadPolicy(pin_memory=mesh.device_type == "cuda") if cpu_offload else OffloadPolicy()

        def split(module: nn.Module, dtype: torch.dtype | None = None, reshards: bool = False) -> FSDPModule:
            return fully_shard(
                module,
                mesh=mesh,
                reshard_after_forward=reshards,
                # Autocast sees to the inputs; a cast would round normalisers as well.
                mp_policy=MixedPrecisionPolicy(dtype, reduce_dtype, cast_forward_inputs=False),
                offload_policy=offload,
            )

        def split_blocks(model: PreTrainedModel) -> list[FSDPModule]:
            return [split(block, compute_dtype, reshard_after_forward) for block in transformer_blocks(model)]

        blocks: dict[nn.Module, list[FSDPModule]] = {model: split_blocks(model) for model in models}
        self._parts: dict[nn.Module, list[FSDPModule]] = {
            reference: [split(reference), *blocks[reference]] for reference in models[1:]
        }
        root: Any = split(policy)  # with all that is left
        self._parts[models[0]] = [root, *blocks[models[0]]]
        self._roots = {parts[0] for parts in self._parts.values()}
        self._policy = root
        # What FSDP takes for a forward pass of the whole also sets it up, and an evaluation may come before any other.
        root._gather = MethodType(_gather, policy)
        register_fsdp_forward_method(policy, "_gather")

    @override
    @contextmanager
    def whole(self, *models: nn.Module) -> Iterator[None]:
        missing = [model for model in models if model not in self._whole]
        parts = [part for model in missing for part in self._parts[model]]
        if parts:
            self._policy._gather(parts)
        self._whole.update(missing)
        try:
            yield
        finally:
            self._whole.difference_update(missing)
            for part in parts:
                part.reshard()
                part.set_reshard_after_forward(self._reshards and part not in self._roots, recurse=False)
            if parts and not self._whole and hasattr(self._policy, "reset_iter_state"):  # in newer versions of torch
                # FSDP takes these passes for such with a backward pass, for which it would fetch ahead.
                self._policy.reset_iter_state()

    @override
    def gradient_norm(self) -> Tensor:
        norm = get_total_norm([weight.grad for weight in self._policy.parameters() if weight.grad is not None])
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    @override
    def clip_gradients(self, limit: float, norm: Tensor) -> None:
        clip_grads_with_norm_(self._policy.parameters(), limit, norm)


def _gather(policy: nn.Module, parts: list[FSDPModule]) -> None:
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()


def compute_device(model: PreTrainedModel) -> torch.device:
    """Return the device on which a model runs, though its weights may wait on a CPU.

    Args:
        model: A causal language model.
    """
    weight = next(model.parameters())
    if not isinstance(weight, DTensor) or weight.device_mesh.device_type == weight.device.type:
        return weight.device
    kind = weight.device_mesh.device_type
    return torch.device(kind, torch.get_device_module(kind).current_device())


def transformer_blocks(model: PreTrainedModel) -> list[nn.Module]:
    """Return the parts of a model that are run one after another, each of which is gathered by itself.

    Args:
        model: A causal language model.

    Example:
        >>> from lightning_gft import ScratchPolicy
        >>> len(transformer_blocks(ScratchPolicy("abc").load_model()))
        4
    """
    named = set(model._no_split_modules or ())
    blocks = [module for module in model.modules() if type(module).__name__ in named]
    if blocks:
        return blocks
    stacks = (module for module in model.modules() if isinstance(module, nn.ModuleList))
    return list(next(stacks, ()))
