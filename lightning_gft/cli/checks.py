"""Trainer settings that Lightning would take, or refuse in words that do not help here."""

from __future__ import annotations

import os
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch.strategies import StrategyRegistry

from lightning_gft.checks import did_you_mean
from lightning_gft.distributed import check_strategy_name

_CHOICES = "auto, ddp or fsdp2"
_PROCESSES = 8
"""As many processes may share the cores of any machine, to try something."""


def check_trainer(config: dict[str, Any]) -> None:
    """Refuse strategies that a policy cannot be trained with, and more processes than a machine can bear.

    Args:
        config: The settings of the trainer.

    Raises:
        ValueError: If there is such a setting.
    """
    strategy = config["strategy"]
    if isinstance(strategy, str):
        _check_strategy(strategy)
    elif isinstance(strategy, Namespace):
        check_strategy_name(strategy["class_path"])
    on_cpu = config["accelerator"] == "cpu" or not torch.cuda.is_available()
    devices = str(config["devices"])
    cores = os.cpu_count() or 1
    if on_cpu and devices.isdecimal() and int(devices) > max(cores, _PROCESSES):
        raise ValueError(
            f"trainer.devices: expected at most {max(cores, _PROCESSES)} processes on the {cores} cores of this "
            f"machine, got {devices}"
        )


def _check_strategy(name: str) -> None:
    check_strategy_name(name)
    names = ["auto", *StrategyRegistry.available_strategies()]
    if name.lower() not in names and "." not in name:
        raise ValueError(f"trainer.strategy: expected {_CHOICES}, got {name}{did_you_mean(name, names)}")
