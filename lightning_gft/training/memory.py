"""The peak memory of a run."""

from __future__ import annotations

import resource
import sys
from typing import Any

import torch

_GB = 2**30


def take_peak_memory(device: torch.device) -> float:
    """Return the peak memory of tensors on an accelerator since the last call, in GiB.

    On the CPU, and on devices without such a counter in torch, it is the peak memory of the process since its start.

    Args:
        device: Device of the policy.
    """
    counter: Any = None if device.type == "cpu" else torch.get_device_module(device)
    if hasattr(counter, "reset_peak_memory_stats"):
        peak = int(counter.max_memory_allocated(device))
        counter.reset_peak_memory_stats(device)
        return peak / _GB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / _GB
