"""Checks trainer settings that Lightning would accept, or reject with an unhelpful message."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.strategies import StrategyRegistry
from lightning.pytorch.utilities.model_helpers import is_overridden

from lightning_gft.checks import did_you_mean
from lightning_gft.cli.reporting import raised_by
from lightning_gft.distributed import check_strategy_name
from lightning_gft.errors import GFTError, GFTValueError

_CHOICES = "auto, ddp or fsdp2"
_PROCESSES = 8
"""Ranks that may share the cores of any machine, for trials."""


def check_trainer(config: dict[str, Any]) -> None:
    """Raise an error for a strategy that cannot work here, too many ranks for the machine, or a null ``max_steps``."""
    if config["max_steps"] is None:
        raise GFTValueError("`trainer.max_steps`: expected a number of steps, got null; set -1 for no limit")
    strategy = config["strategy"]
    if isinstance(strategy, str):
        _check_strategy(strategy)
    elif isinstance(strategy, Namespace):
        check_strategy_name(strategy["class_path"])
    on_cpu = config["accelerator"] == "cpu" or not torch.cuda.is_available()
    devices, most = str(config["devices"]), max(os.cpu_count() or 1, _PROCESSES)
    if on_cpu and devices.isdecimal() and int(devices) > most:
        raise GFTValueError(
            f"`trainer.devices`: expected at most {most} ranks on this machine, got {devices}; start fewer"
        )


def _check_strategy(name: str) -> None:
    check_strategy_name(name)
    names = ["auto", *StrategyRegistry.available_strategies()]
    if name.lower() not in names and "." not in name:
        raise GFTValueError(f"`trainer.strategy`: expected {_CHOICES}, got {name}{did_you_mean(name, names)}")


def check_callbacks(callbacks: Iterable[Callback]) -> None:
    """Raise an error if two callbacks would share one state in a checkpoint; Lightning would print a traceback."""
    seen: dict[str, Callback] = {}
    for callback in callbacks:
        has_state = is_overridden("state_dict", instance=callback)
        if has_state and seen.setdefault(callback.state_key, callback) is not callback:
            raise GFTValueError(
                f"`trainer.callbacks`: expected one {type(callback).__name__} with these settings, got two; remove one"
            )


def check_keeping(config: Mapping[str, Any], callbacks: Iterable[Callback]) -> None:
    """Raise an error if a callback would write checkpoints of a trainer that is set to write none."""
    kept = [type(callback).__name__ for callback in callbacks if isinstance(callback, Checkpoint)]
    if kept and config["enable_checkpointing"] is False:
        raise GFTValueError(
            f"`trainer.enable_checkpointing`: expected true with a {kept[0]} among trainer.callbacks, got false; set "
            "it to true, or remove the callback"
        )


def check_port(world_size: int) -> None:
    """Raise an error for a ``MASTER_PORT`` at which several ranks cannot meet."""
    port = os.environ.get("MASTER_PORT", "0")
    if world_size > 1 and not (port.isdecimal() and int(port) < 2**16):
        raise GFTValueError(f"`MASTER_PORT`: expected a port such as 29500, got {port!r}; set it, or unset it")


@contextmanager
def naming_options(setting: str, options: Mapping[str, Any]) -> Iterator[None]:
    """Context in which errors of Lightning about an option begin with its setting; those of other code stay.

    Args:
        setting: Setting of the object that has the options.
        options: Its options, of which the error names one, or quotes the value of one; if it may mean several, the
            error begins with the setting alone.

    Raises:
        GFTValueError: In place of an error of Lightning.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> with naming_options("trainer", {"max_steps": -5, "accelerator": "cpu"}):
        ...     Trainer(max_steps=-5, accelerator="cpu", logger=False)
        Traceback (most recent call last):
        lightning_gft.errors.GFTValueError: `trainer.max_steps`: ...
    """
    try:
        yield
    except (MisconfigurationException, TypeError, ValueError) as error:
        if isinstance(error, GFTError) or raised_by(error) != "lightning":
            raise
        option = _option_at_fault(str(error), options)
        reason = " ".join(str(error).split())  # in one line
        raise GFTValueError(f"`{setting}{option and f'.{option}'}`: {reason}") from error


def _option_at_fault(text: str, options: Mapping[str, Any]) -> str:
    """Return the only option that a text names, or else the only one whose value it quotes; empty if there is none."""
    words = re.findall(r"\w+", text)
    named = [option for option in options if option in words]
    quoted = [option for option, value in options.items() if _quotes(text, value)]
    narrowed = [option for option in named or quoted if option in quoted]
    return next((found[0] for found in (named, narrowed) if len(found) == 1), "")


def _quotes(text: str, value: Any) -> bool:
    """Return whether a text has the value of an option that was set."""
    shown = "" if value is None or isinstance(value, bool) or value == "auto" else str(value)
    return bool(shown) and re.search(rf"(?<!\w){re.escape(shown)}(?!\w)", text) is not None
