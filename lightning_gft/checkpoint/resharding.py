"""Gathering sharded tensors and splitting whole ones, for checkpoints that any number of ranks can resume from.

``torch.distributed.checkpoint.state_dict`` does not fit. It also gathers frozen weights, writes tied ones twice, and
names optimizer states differently from a single process. And it fills an empty state by a step of the optimizer, so
that a run saved before its first step would resume with another one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from lightning_gft.checkpoint.references import weight_name

LayoutFn = Callable[[str, torch.Size, torch.dtype], Tensor]
"""Returns the tensor to read into, from the name of a weight, its whole shape and its data type."""


def parameter_names(module: nn.Module, optimizer: Optimizer) -> list[str]:
    """Return the names of an optimizer's parameters, in its order."""
    names = {parameter: name for name, parameter in module.named_parameters()}
    return [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]


def tied_names(module: nn.Module) -> dict[str, str]:
    """Return the first name of a tied weight for each of its other names."""
    first = {weight: name for name, weight in module.named_parameters()}
    named = module.named_parameters(remove_duplicate=False)
    return {name: first[weight] for name, weight in named if first[weight] != name}


def whole_layout(_: str, size: torch.Size, dtype: torch.dtype) -> Tensor:
    """Return an empty tensor of the whole shape, on the CPU."""
    return torch.empty(size, dtype=dtype)


def layout_of(module: nn.Module) -> LayoutFn:
    """Return the layout of a module whose weights are sharded: this rank's shard of each."""
    own = module.state_dict()

    def layout(name: str, size: torch.Size, dtype: torch.dtype) -> Tensor:
        weight = own.get(weight_name(name))
        if isinstance(weight, DTensor) and weight.shape == size:
            return torch.empty_like(weight, dtype=dtype)
        return whole_layout(name, size, dtype)

    return layout


def split(checkpoint: dict[str, Any], module: nn.Module, names: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return a checkpoint of whole tensors with each replaced by this rank's shard.

    Args:
        checkpoint: Lightning's checkpoint, the same on every rank.
        module: A module whose weights are sharded.
        names: :func:`parameter_names` of each optimizer.
    """
    own = module.state_dict()

    def shard(name: str, tensor: Any) -> Any:
        weight = own.get(weight_name(name))
        if not isinstance(weight, DTensor) or not isinstance(tensor, Tensor) or tensor.shape != weight.shape:
            return tensor
        # No source rank: each rank has the whole tensor.
        return distribute_tensor(tensor.to(weight.device), weight.device_mesh, weight.placements, src_data_rank=None)

    def shards(state: dict[str, Any], of_one: Sequence[str]) -> dict[str, Any]:
        kept = {i: {k: shard(of_one[i], v) for k, v in values.items()} for i, values in state["state"].items()}
        return {**state, "state": kept}

    parts = {
        **checkpoint,
        "state_dict": {name: shard(name, tensor) for name, tensor in checkpoint["state_dict"].items()},
    }
    if states := checkpoint.get("optimizer_states"):
        parts["optimizer_states"] = [shards(state, of_one) for state, of_one in zip(states, names, strict=False)]
    return parts


def join(checkpoint: dict[str, Any], module: nn.Module, keep: bool) -> dict[str, Any]:
    """Return a checkpoint with whole tensors, on the CPU. All ranks call it together.

    Args:
        checkpoint: Lightning's checkpoint, with sharded tensors.
        module: The module whose state is in it.
        keep: Whether this rank keeps the tensors, or only takes part in gathering them.
    """
    rest = {key: value for key, value in checkpoint.items() if key != "state_dict"}
    return {**_gathered(rest, keep), "state_dict": join_state(checkpoint["state_dict"], module, keep)}


def join_state(state: Mapping[str, Any], module: nn.Module, keep: bool) -> dict[str, Any]:
    """Return a module's state with whole tensors, as :func:`join` does; tied weights stay one tensor.

    Args:
        state: The module's state, or a part of it.
        module: A module whose weights are sharded.
        keep: Whether this rank keeps the tensors, or only takes part in gathering them.
    """
    tied = {name: first for name, first in tied_names(module).items() if name in state and first in state}
    joined: dict[str, Any] = _gathered({name: value for name, value in state.items() if name not in tied}, keep)
    return joined | {name: joined[first] for name, first in tied.items()}


def _gathered(values: Any, keep: bool) -> Any:
    if isinstance(values, DTensor):
        whole = values.full_tensor()
        return whole.cpu() if keep else None
    if isinstance(values, dict):
        return {key: _gathered(value, keep) for key, value in values.items()}
    return [_gathered(value, keep) for value in values] if isinstance(values, list) else values
