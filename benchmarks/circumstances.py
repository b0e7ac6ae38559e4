"""Under what circumstances a figure was measured: command, date, hardware, versions."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_LIBRARIES = (
    *("torch", "transformers", "lightning", "lightning-gft"),
    *("trl", "peft", "bitsandbytes", "accelerate", "liger-kernel", "triton"),
)


def circumstances(script: str, device: str, args: Sequence[str] | None) -> dict[str, Any]:
    """Return what a record says of the run that made it.

    Args:
        script: Name of the module that runs, such as ``"benchmarks.head"``.
        device: ``"cpu"`` or ``"cuda"``.
        args: Its command line; ``None`` for the process's.
    """
    given = sys.argv[1:] if args is None else args
    return {
        "command": " ".join([f"python -m {script}", *map(str, given)]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "hardware": _hardware(device),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _LIBRARIES}},
    }


def _commit() -> str | None:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        asked = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # not a clone
        return None
    return asked.stdout.strip()


def _hardware(device: str) -> dict[str, Any]:
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        return {"platform": platform.platform(), "gpu": properties.name, "gpu_mib": properties.total_memory // 2**20}
    return {"platform": platform.platform(), "cpu": _cpu(), "threads": torch.get_num_threads()}


def _cpu() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
