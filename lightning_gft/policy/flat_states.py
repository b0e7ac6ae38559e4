"""States of an optimizer whose weights lie in pieces on several processes: whole for a checkpoint, and back.

Torch's own way would need names, and on a CPU it returns the last of a weight's tensors for each of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.optim import Optimizer

from lightning_gft.errors import GFTValueError

Shapes = Mapping[nn.Parameter, torch.Size]
"""Of whole weights. Of each a process holds the values from one to another, in the order of processes, or none."""


def join_state(optimizer: Optimizer, shapes: Shapes, group: ProcessGroup, device: torch.device) -> dict[str, Any]:
    """Return an optimizer's state as it is on one process, on the first; elsewhere it is empty. All ask together.

    Args:
        optimizer: With this process's pieces of weights.
        shapes: Those of whole weights.
        group: The processes that share them.
        device: Where they communicate.

    Raises:
        ValueError: If the optimizer keeps tensors that are not made of one value for each of a weight.
    """
    state = optimizer.state_dict()
    weights, starts = _weights(optimizer), _starts(optimizer, group, device)
    kept: list[Any] = [None] * group.size()
    torch.distributed.all_gather_object(kept, _described(optimizer, state["state"], weights), group=group)
    joined: dict[int, dict[str, Any]] = {}
    for number, weight in enumerate(weights):
        # A process that holds nothing of a weight keeps nothing of it.
        names = {name: value for of_one in reversed(kept) for name, value in of_one.get(number, {}).items()}
        for name, value in names.items():
            if isinstance(value, torch.dtype):
                value = torch.zeros(shapes[weight].numel(), dtype=value, device=device)
                if (own := state["state"].get(number)) is not None:
                    value[starts[number] : starts[number] + weight.numel()] = own[name]
                torch.distributed.all_reduce(value, group=group)
                value = value.view(shapes[weight]).cpu()
            if torch.distributed.get_rank() == 0:
                joined.setdefault(number, {})[name] = value
    return {**state, "state": joined}


def split_state(
    optimizer: Optimizer, state: Mapping[str, Any], shapes: Shapes, group: ProcessGroup, device: torch.device
) -> dict[str, Any]:
    """Return this process's pieces of a state, for its optimizer to load. All processes ask together.

    Args:
        optimizer: With this process's pieces of weights.
        state: As it is on one process.
        shapes: Those of whole weights.
        group: The processes that share them.
        device: Where they communicate.
    """
    weights, starts = _weights(optimizer), _starts(optimizer, group, device)

    def piece(number: int, value: Any) -> Any:
        weight = weights[number]
        if not isinstance(value, Tensor) or not value.dim() or value.shape != shapes[weight]:
            return value
        return value.flatten()[starts[number] : starts[number] + weight.numel()].clone()

    pieces = {
        number: {name: piece(number, value) for name, value in values.items()}
        for number, values in state["state"].items()
        if weights[number].numel()
    }
    return {**state, "state": pieces}


def _weights(optimizer: Optimizer) -> list[nn.Parameter]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]


def _starts(optimizer: Optimizer, group: ProcessGroup, device: torch.device) -> list[int]:
    """Return where in each weight this process's piece begins."""
    own = torch.tensor([weight.numel() for weight in _weights(optimizer)], device=device)
    sizes = [torch.empty_like(own) for _ in range(group.size())]
    torch.distributed.all_gather(sizes, own, group=group)
    return [int(start) for start in sum(sizes[: group.rank()], start=torch.zeros_like(own))]


def _described(
    optimizer: Optimizer, states: Mapping[int, Mapping[str, Any]], weights: list[nn.Parameter]
) -> dict[int, dict[str, Any]]:
    """Return for each tensor that is split its data type, and what else is kept of a weight as it is."""
    described: dict[int, dict[str, Any]] = {}
    for number, values in states.items():
        described[number] = {}
        for name, value in values.items():
            is_piece = isinstance(value, Tensor) and value.dim() > 0
            if is_piece and value.shape != weights[number].shape:
                raise GFTValueError(
                    f"{type(optimizer).__name__} keeps {list(value.shape)} values ({name}) of "
                    f"{weights[number].numel()} weights, which fsdp cannot put together for a checkpoint: use AdamW, "
                    "or trainer.strategy: fsdp2"
                )
            described[number][name] = value.dtype if is_piece else value
    return described
