"""The precision that log-probabilities and losses are computed in."""

from __future__ import annotations

import torch
from torch import Tensor


def widen(tensor: Tensor) -> Tensor:
    """Return a tensor in at least fp32: half precision is too coarse for sums over tokens, integers have no fractions.

    Example:
        >>> widen(torch.tensor([1, 2])).dtype, widen(torch.ones(2, dtype=torch.float64)).dtype
        (torch.float32, torch.float64)
    """
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
