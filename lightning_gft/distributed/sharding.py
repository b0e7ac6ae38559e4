"""Weights that are sharded over ranks: which shards a rank holds, and when it gathers all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import MethodType
from typing import Any

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

from lightning_gft.phases import phase


class Sharding(ABC):
    """How the weights of a policy are distributed over the ranks that train it.

    Args:
        policy: The policy to train.
    """

    def __init__(self, policy: nn.Module) -> None:
        self._policy = policy

    @property
    @abstractmethod
    def is_split(self) -> bool:
        """Whether a rank holds a shard of each weight, outside of :meth:`whole`."""

    @abstractmethod
    def whole(self, *models: nn.Module) -> AbstractContextManager[None]:
        """Gather all weights of some models on every rank within this context; all ranks enter it together.

        Args:
            models: The policy's model, its reference, or both.
        """

    @abstractmethod
    def split(self, model: nn.Module) -> AbstractContextManager[None]:
        """Return to shards within this context, which may be changed there; all ranks enter it together.

        Args:
            model: A model whose weights may be gathered outside of this context.
        """

    def gradient_norm(self) -> Tensor:
        """Return the norm of the policy's gradients over all shards, the same value on every rank."""
        return self.norms([[weight.grad for weight in self._policy.parameters()]])[0]

    def norms(self, gradients: Sequence[Sequence[Tensor | None]]) -> Tensor:
        """Return the norm ``[n]`` of each of ``n`` lists of gradients over the shards of all ranks.

        Args:
            gradients: Lists of gradients of the policy's weights, ``None`` where a weight has none. All ranks pass
                lists of the same weights.
        """
        norms = torch.stack([get_total_norm(_local(some)).to(compute_device(self._policy)) for some in gradients])
        return norms.to(torch.promote_types(norms.dtype, torch.float32))

    def clip_gradients(self, limit: float, norm: Tensor) -> None:
        """Scale the policy's gradients so that their norm is at most ``limit``.

        Args:
            limit: Largest norm of the scaled gradients.
            norm: Current norm, as returned by :meth:`gradient_norm`.
        """
        clip_grads_with_norm_(self._policy.parameters(), limit, norm)


class Unsharded(Sharding):
    """Every rank always has all weights."""

    @property
    @override
    def is_split(self) -> bool:
        return False

    @override
    def whole(self, *models: nn.Module) -> AbstractContextManager[None]:
        return nullcontext()

    @override
    def split(self, model: nn.Module) -> AbstractContextManager[None]:
        return nullcontext()


class FullySharded(Sharding):
    """FSDP2: each weight is sharded over all ranks, and gathered with those of its block where it is needed.

    Args:
        policy: The module whose forward runs the model; embeddings and head stay gathered for all of it.
        models: The models in it: first the one to train, then perhaps a reference.
        mesh: Device mesh of the ranks to shard over.
        reshard_after_forward: Whether a block's weights are freed after its forward pass and gathered again for its
            backward pass. If not, they stay gathered in between, which takes memory and saves communication.
        cpu_offload: Whether each rank keeps its shards in the CPU's memory.
        compute_dtype: Data type that the weights of blocks are gathered and used in; by default their own. Gradients
            are still reduced over ranks in float32, and embeddings and head keep their data type, so that the
            residual stream is as precise as under autocast.
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
        super().__init__(policy)
        self._mesh = mesh
        self._reshards = reshard_after_forward
        self._whole: set[nn.Module] = set()
        # Half precision is too coarse to reduce gradients in.
        half = any(weight.requires_grad and weight.element_size() < 4 for weight in policy.parameters())
        reduce_dtype = torch.float32 if half or compute_dtype is not None else None
        offload = CPUOffloadPolicy(pin_memory=mesh.device_type == "cuda") if cpu_offload else OffloadPolicy()

        def shard(module: nn.Module, dtype: torch.dtype | None = None, reshards: bool = False) -> FSDPModule:
            return fully_shard(
                module,
                mesh=mesh,
                reshard_after_forward=reshards,
                # Autocast converts the inputs; casting them here would round normalisers as well.
                mp_policy=MixedPrecisionPolicy(dtype, reduce_dtype, cast_forward_inputs=False),
                offload_policy=offload,
            )

        def shard_blocks(model: PreTrainedModel) -> list[FSDPModule]:
            return [shard(block, compute_dtype, reshard_after_forward) for block in transformer_blocks(model)]

        blocks: dict[nn.Module, list[FSDPModule]] = {model: shard_blocks(model) for model in models}
        self._units: dict[nn.Module, list[FSDPModule]] = {
            reference: [shard(reference), *blocks[reference]] for reference in models[1:]
        }
        root: Any = policy
        self._units[models[0]] = [shard(root), *blocks[models[0]]]  # the root takes all remaining weights
        self._roots = {units[0] for units in self._units.values()}
        # FSDP initialises itself in the root's forward pass, but an evaluation may come before the first one.
        self._root = root
        root._gather = MethodType(_gather, policy)
        register_fsdp_forward_method(policy, "_gather")

    @property
    @override
    def is_split(self) -> bool:
        return True

    @override
    def norms(self, gradients: Sequence[Sequence[Tensor | None]]) -> Tensor:
        squares = super().norms(gradients).square()
        torch.distributed.all_reduce(squares, group=self._mesh.get_group())
        return squares.sqrt()

    @override
    @contextmanager
    def whole(self, *models: nn.Module) -> Iterator[None]:
        missing = [model for model in models if model not in self._whole]
        units = [unit for model in missing for unit in self._units[model]]
        if units:
            self._root._gather(units)
        self._whole.update(missing)
        try:
            yield
        finally:
            self._whole.difference_update(missing)
            for unit in units:
                unit.reshard()
                unit.set_reshard_after_forward(self._reshards and unit not in self._roots, recurse=False)
            if units and not self._whole and hasattr(self._root, "reset_iter_state"):  # in newer versions of torch
                # FSDP expects a backward pass after these forward passes, and would prefetch for it.
                self._root.reset_iter_state()

    @override
    @contextmanager
    def split(self, model: nn.Module) -> Iterator[None]:
        for unit in self._units[model]:
            unit.reshard()
        try:
            yield
        finally:
            if model in self._whole:
                self._root._gather(self._units[model])


@phase("collective")
def _gather(policy: nn.Module, units: list[FSDPModule]) -> None:
    for unit in units:
        unit.set_reshard_after_forward(False, recurse=False)
        unit.unshard()


def _local(gradients: Sequence[Tensor | None]) -> list[Tensor]:
    """Return this rank's shards of gradients."""
    known = [gradient for gradient in gradients if gradient is not None]
    return [gradient.to_local() if isinstance(gradient, DTensor) else gradient for gradient in known]


def compute_device(model: nn.Module) -> torch.device:
    """Return the device that a model computes on, even if its weights are offloaded to the CPU.

    Args:
        model: A causal language model, sharded or not.
    """
    weight = next(model.parameters())
    if not isinstance(weight, DTensor) or weight.device_mesh.device_type == weight.device.type:
        return weight.device
    kind = weight.device_mesh.device_type
    return torch.device(kind, torch.get_device_module(kind).current_device())


def transformer_blocks(model: PreTrainedModel) -> list[nn.Module]:
    """Return the blocks of a model, each of which is gathered separately.

    Args:
        model: A causal language model.

    Example:
        >>> from lightning_gft import ScratchPolicy
        >>> len(transformer_blocks(ScratchPolicy("abc").load_model()))
        4
    """
    named = set(model._no_split_modules or ())
    # FSDP replaces a block's class by a subclass of its own.
    blocks = [module for module in model.modules() if named & {kind.__name__ for kind in type(module).__mro__}]
    if blocks:
        return blocks
    stacks = (module for module in model.modules() if isinstance(module, nn.ModuleList))
    return list(next(stacks, ()))
