"""What a side notes while it runs: memory, trained tokens, and whether its weights moved."""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from benchmarks.setting import Device

MIB = 2**20


class Meter:
    """Reads the memory of this process, or of its GPU, before loading, after it, and at its highest.

    On CUDA the highest is that of training alone. The highest of a process's resident memory cannot be set back, so on
    a CPU it includes loading, and what it had come to by then is noted too.

    Args:
        device: Whose memory.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.figures: dict[str, Any] = {"before_loading_mib": self._now()}
        self.tokens = 0
        self._started = 0.0
        self._watched: Tensor | None = None
        self._at_start: Tensor | None = None

    def loaded(self, model: nn.Module) -> None:
        """Take note that the model is loaded and training is about to start.

        Args:
            model: What will be trained.
        """
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._watched = trained[-1]  # a norm, or an adapter's second matrix: small, and every step moves it
        self._at_start = self._watched.detach().cpu().clone()
        self.figures |= {
            "trained_parameters": sum(parameter.numel() for parameter in trained),
            "trained_dtypes": _dtypes(trained),
            "all_dtypes": _dtypes(model.parameters()),
            "peak_of_loading_mib": self._peak(),
        }
        if self.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        self.figures["loaded_mib"] = self._now()
        self._started = time.perf_counter()

    def count(self, response_mask: Tensor) -> None:
        """Count the tokens of a pass with gradient; the first comes when sampling has just ended.

        Args:
            response_mask: True on them.
        """
        self.figures.setdefault("peak_of_first_sampling_mib", self._peak())
        self.tokens += int(response_mask.sum())

    def finish(self) -> dict[str, Any]:
        """Return all figures.

        Raises:
            RuntimeError: If training changed nothing, so that nothing was measured.
        """
        seconds = time.perf_counter() - self._started
        peak = self._peak()
        if self._watched is None or torch.equal(self._watched.detach().cpu(), self._at_start):  # type: ignore[arg-type]
            raise RuntimeError("the weights are what they were before training")
        self.figures |= {
            "peak_mib": peak,
            "added_by_training_mib": peak - self.figures["loaded_mib"],
            "trained_tokens": self.tokens,
            "seconds": round(seconds, 1),
        }
        if self.device == "cuda":
            self.figures["peak_reserved_mib"] = torch.cuda.max_memory_reserved() / MIB
        return {name: round(value, 1) if isinstance(value, float) else value for name, value in self.figures.items()}

    def _now(self) -> float:
        if self.device == "cuda":
            return torch.cuda.memory_allocated() / MIB
        return float(psutil.Process().memory_info().rss) / MIB

    def _peak(self) -> float:
        if self.device == "cuda":
            return torch.cuda.max_memory_allocated() / MIB
        return peak_memory() / MIB


def peak_memory() -> int:
    """Return the largest resident memory of this process, in bytes."""
    now: int = psutil.Process().memory_info().rss  # which the system's own mark may lag behind a little
    status = Path("/proc/self/status")
    if status.exists():
        # Linux's ru_maxrss begins with that of the process that started this one, which may be as large.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return max(now, int(line.split()[1]) * 1024)
    unit = 1 if sys.platform == "darwin" else 1024
    return max(now, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def _dtypes(parameters: Iterable[Tensor]) -> dict[str, int]:
    """Count elements by data type; 4-bit weights are packed, two in an element of uint8."""
    counts: Counter[str] = Counter()
    for parameter in parameters:
        counts[str(parameter.dtype).removeprefix("torch.")] += parameter.numel()
    return dict(counts)
