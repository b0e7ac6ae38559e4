"""A copy of a policy's adapters, with the model that they belong to."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from lightning_gft.policy.adapters import Adapters


def full_precision(adapters: Adapters) -> Adapters:
    """Return a copy of adapters on the CPU, in a model of their own with weights in full precision.

    Args:
        adapters: In a model without packed weights.
    """
    # What deepcopy shall take for copies: at once on the CPU, as a GPU may have no room for a second model.
    memo: dict[int, Any] = {id(value): _wide(value) for value in adapters.model.buffers()}
    for weight in adapters.model.parameters():
        memo[id(weight)] = nn.Parameter(_wide(weight), requires_grad=weight.requires_grad)
    return copy.deepcopy(adapters, memo)


def _wide(value: Tensor) -> Tensor:
    """Copy a tensor to the CPU, out of half precision, which would round a small adapter away."""
    dtype = torch.promote_types(value.dtype, torch.float32) if value.is_floating_point() else value.dtype
    return value.detach().to("cpu", dtype, copy=True)
