"""Copying a policy's adapters together with their model."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from lightning_gft.policy.adapters import Adapters


def full_precision(adapters: Adapters) -> Adapters:
    """Return a copy of adapters on the CPU, in a copy of their model in full precision.

    Args:
        adapters: Adapters in a model without quantised weights.
    """
    # Copies for deepcopy to use, made directly on the CPU, because a GPU may lack memory for a second model.
    memo: dict[int, Any] = {id(value): _wide(value) for value in adapters.model.buffers()}
    for weight in adapters.model.parameters():
        memo[id(weight)] = nn.Parameter(_wide(weight), requires_grad=weight.requires_grad)
    return copy.deepcopy(adapters, memo)


def _wide(value: Tensor) -> Tensor:
    """Copy a tensor to the CPU and out of half precision, in which merging would round a small adapter away."""
    dtype = torch.promote_types(value.dtype, torch.float32) if value.is_floating_point() else value.dtype
    return value.detach().to("cpu", dtype, copy=True)
