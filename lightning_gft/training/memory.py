"""How much memory a run takes."""

from __future__ import annotations

import resource
import sys
from typing import Any

import torch

_GB = 2**30


def take_peak_memory(device: torch.device) -> float:
    """Return the most memory, in GiB, that tensors took on an accelerator since the last call.

    On the CPU, and where torch does not count it, it is the most that the process has taken since it began.

    Args:
        device: Which the policy is on.
    """
    counter: Any = None if device.type == "cpu" else torch.get_device_module(device)
    if hasattr(counter, "reset_peak_memory_stats"):
        peak = int(counter.max_memory_allocated(device))
        counter.reset_peak_memory_stats(device)
        return peak / _GB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / _GB
