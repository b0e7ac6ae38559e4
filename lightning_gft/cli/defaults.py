"""Callbacks that a run has unless its configuration gives its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from lightning.pytorch import Callback

from lightning_gft.callbacks import Advice, GroupTable, RunRecord, Watchdog

_OF_A_FIT: dict[type[Callback], Callable[[], Callback]] = {
    RunRecord: RunRecord,
    Advice: Advice,
    GroupTable: partial(GroupTable, log=False),
    Watchdog: Watchdog,
}


def default_callbacks(subcommand: str, trainer: Mapping[str, Any], given: Sequence[Callback]) -> list[Callback]:
    """Return the callbacks that are on by default, but for those that are given.

    Args:
        subcommand: What the command line does.
        trainer: The trainer's settings.
        given: The callbacks of the configuration.
    """
    if subcommand != "fit" or trainer["fast_dev_run"] or trainer["barebones"]:
        return []
    missing = [kind for kind in _OF_A_FIT if not any(isinstance(callback, kind) for callback in given)]
    return [_OF_A_FIT[kind]() for kind in missing]
