"""FSDP1: the weights of a block of layers lie end to end in one tensor, of which each process holds a piece."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.fsdp import (
    FullyShardedDataParallel,
    MixedPrecision,
    ShardingStrategy,
)
from torch.distributed.fsdp.wrap import CustomPolicy
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer
from transformers import PreTrainedModel
from typing_extensions import override

from lightning_gft.errors import GFTValueError
from lightning_gft.policy.flat_states import join_state, split_state
from lightning_gft.policy.sharding import Sharding, transformer_blocks

Result = TypeVar("Result")


class FlatSharded(Sharding):
    """FSDP1: a block's weights are gathered where it is needed, and each process keeps a piece of them.

    What is wrapped for that are the blocks within a model. Around the model itself stands a wrapper that no other
    module knows, for embeddings and head: what runs the model goes through :meth:`run`.

    Args:
        models: The model that trains first, then maybe a reference.
        compute_dtype: Data type in which the weights of blocks are gathered and used, by default their own. Gradients
            are added up over processes in float32 all the same, and embeddings and head keep their data type.
        settings: Further ones of torch's ``FullyShardedDataParallel``. With an ``auto_wrap_policy`` or a
            ``mixed_precision`` among them, those take the place of this class's own.

    Raises:
        ValueError: If weights that would lie in one tensor are of several data types.
    """

    def __init__(
        self, models: Sequence[PreTrainedModel], compute_dtype: torch.dtype | None = None, **settings: Any
    ) -> None:
        self._shapes = {weight: weight.shape for weight in models[0].parameters()}
        self._roots = {model: _wrap(model, compute_dtype, settings) for model in models}
        self._root = self._roots[models[0]]
        self._whole: set[nn.Module] = set()

    @override
    def run(self, function: Callable[[], Result]) -> Result:
        result: Result = self._root(function)
        return result

    @override
    @contextmanager
    def whole(self, *models: nn.Module) -> Iterator[None]:
        with ExitStack() as gathered:
            for model in models:
                if model not in self._whole:
                    gathered.enter_context(self._gathered(model, writeback=False))
            yield

    @override
    @contextmanager
    def readable(self) -> Iterator[None]:
        with self.whole(*self._roots):
            yield

    @contextmanager
    def writable(self) -> Iterator[None]:
        """Within this context every process has all weights, and afterwards its pieces are those of what they became.

        All processes enter it together and write the same.
        """
        with ExitStack() as gathered:
            for model in self._roots:
                gathered.enter_context(self._gathered(model, writeback=True))
            yield

    @override
    def gradient_norm(self) -> Tensor:
        norm = get_total_norm([weight.grad for weight in self._root.parameters() if weight.grad is not None])
        if self._shards:
            # A process may hold nothing that has a gradient, so the data type must not be the gradients'.
            group, device = self._channel()
            squared = norm.to(device, torch.float64).square()
            torch.distributed.all_reduce(squared, group=group)
            norm = squared.sqrt()
        return norm

    @override
    def clip_gradients(self, limit: float, norm: Tensor) -> None:
        clip_grads_with_norm_(self._root.parameters(), limit, norm)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return an optimizer's state as it is on one process, on the first; elsewhere it is empty. All ask together.

        Args:
            optimizer: Of the model that trains.

        Raises:
            ValueError: If the optimizer keeps tensors that are not made of one value for each of a weight.
        """
        if not self._shards:
            return optimizer.state_dict()
        return join_state(optimizer, self._shapes, *self._channel())

    def load_optimizer_state(self, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
        """Load the state that an optimizer has on one process. All processes do so together.

        Args:
            optimizer: Of the model that trains.
            state: Its own on every process.
        """
        if self._shards:
            state = split_state(optimizer, state, self._shapes, *self._channel())
        optimizer.load_state_dict(dict(state))

    @property
    def _shards(self) -> bool:
        return self._root.sharding_strategy != ShardingStrategy.NO_SHARD

    def _channel(self) -> tuple[ProcessGroup, torch.device]:
        """Return the processes that share the weights, and the device on which they communicate."""
        group, device = self._root.process_group, self._root.compute_device
        assert group is not None  # noqa: S101 (both are set once the model is wrapped)
        assert device is not None  # noqa: S101
        return group, device

    @contextmanager
    def _gathered(self, model: nn.Module, writeback: bool) -> Iterator[None]:
        root = self._roots[model]  # type: ignore[index] # a model of this policy
        with FullyShardedDataParallel.summon_full_params(root, writeback=writeback), _unwrapped(root):
            self._whole.add(model)
            try:
                yield
            finally:
                self._whole.remove(model)


class _Caller(nn.Module):
    """Calls what uses a model's weights, its own forward or not, so that a wrapper around this has gathered them."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    @override
    def forward(self, function: Callable[[], Any]) -> Any:
        return function()


def _wrap(
    model: PreTrainedModel, compute_dtype: torch.dtype | None, settings: Mapping[str, Any]
) -> FullyShardedDataParallel:
    parts: set[nn.Module] = set()
    for block in transformer_blocks(model):
        parts.update((block, *_leaves_apart(block)))
    reduce_dtype = None if compute_dtype is None else torch.float32
    inner = {"mixed_precision": settings.get("mixed_precision", _precision(compute_dtype, reduce_dtype))}
    own = {
        "auto_wrap_policy": CustomPolicy(lambda module: module in parts and inner),
        "mixed_precision": _precision(None, reduce_dtype),
    }
    try:
        return FullyShardedDataParallel(_Caller(model), **{**own, **settings})
    except ValueError as error:
        if "uniform dtype" not in str(error):
            raise
        raise GFTValueError(
            f"fsdp puts weights of one data type end to end, but those of {type(model).__name__} are of several: set "
            "the policy's torch_dtype to float32, or use trainer.strategy: fsdp2"
        ) from error


def _precision(compute_dtype: torch.dtype | None, reduce_dtype: torch.dtype | None) -> MixedPrecision:
    # Autocast sees to the inputs; a cast would round normalisers as well.
    return MixedPrecision(
        param_dtype=compute_dtype,
        reduce_dtype=reduce_dtype,
        cast_forward_inputs=False,
        cast_root_forward_inputs=False,
    )


def _leaves_apart(block: nn.Module) -> list[nn.Module]:
    """Return the layers of a block, such as adapters, that cannot or should not lie in one tensor with the rest of it.

    They cannot if their data type is another. They should not if they train and the rest does not: a tensor has one
    gradient, so all of it would be worked out.
    """
    sizes: Counter[tuple[torch.dtype, bool]] = Counter()
    for weight in block.parameters():
        sizes[weight.dtype, weight.requires_grad] += weight.numel()
    most = max(sizes, key=sizes.__getitem__, default=None)
    return [
        module
        for module in block.modules()
        if next(module.children(), None) is None
        and any((weight.dtype, weight.requires_grad) != most for weight in module.parameters())
    ]


@contextmanager
def _unwrapped(root: nn.Module) -> Iterator[None]:
    """Put bare modules in the place of wrapped ones, whose forward would gather and give back what is there already."""
    places = [
        (parent, name, child)
        for parent in root.modules()
        for name, child in parent.named_children()
        if isinstance(child, FullyShardedDataParallel)
    ]
    for parent, name, child in places:
        parent.register_module(name, child.module)
    try:
        yield
    finally:
        for parent, name, child in places:
            parent.register_module(name, child)
