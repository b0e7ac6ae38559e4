"""Trainer settings that Lightning would take, or refuse in words that do not help here."""

from __future__ import annotations

import os
from typing import Any

import torch
from lightning.pytorch.strategies import StrategyRegistry

from lightning_gft.checks import did_you_mean
from lightning_gft.errors import GFTValueError

_PROCESSES = 8
"""As many processes may share the cores of any machine, to try something."""


def check_trainer(config: dict[str, Any]) -> None:
    """Refuse strategies that cannot work here, and more processes than a machine can bear."""
    on_cpu = config["accelerator"] == "cpu" or not torch.cuda.is_available()
    if isinstance(config["strategy"], str):
        _check_strategy(config["strategy"], on_cpu)
    devices, most = str(config["devices"]), max(os.cpu_count() or 1, _PROCESSES)
    if on_cpu and devices.isdecimal() and int(devices) > most:
        raise GFTValueError(f"trainer.devices: expected at most {most} processes on this machine, got {devices}")


def _check_strategy(name: str, on_cpu: bool) -> None:
    if name.startswith("deepspeed"):
        raise GFTValueError(f"trainer.strategy={name} is not supported: use fsdp2, or ddp where a model fits")
    if name in ("fsdp", "fsdp_cpu_offload") and on_cpu:
        raise GFTValueError(f"trainer.strategy={name} needs a GPU: use fsdp2, which runs on CPUs too")
    names = ["auto", *StrategyRegistry.available_strategies()]
    if name.lower() not in names and "." not in name:
        raise GFTValueError(
            f"trainer.strategy: expected auto, ddp, fsdp2 or, on GPUs, fsdp, got {name}{did_you_mean(name, names)}"
        )


def check_port(world_size: int) -> None:
    """Refuse a ``MASTER_PORT`` at which several processes cannot meet."""
    port = os.environ.get("MASTER_PORT", "0")
    if world_size > 1 and not (port.isdecimal() and int(port) < 2**16):
        raise GFTValueError(f"`MASTER_PORT`: expected a port such as 29500, got {port!r}; set it, or unset it")
