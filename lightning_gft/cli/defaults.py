"""Callbacks that a run gets unless its configuration has them already."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

from lightning.pytorch import Callback

from lightning_gft.callbacks import Advice, GroupTable, RunRecord, Watchdog

DefaultCallback = Literal["RunRecord", "Advice", "GroupTable", "Watchdog"]

_OF_A_FIT: dict[DefaultCallback, tuple[type[Callback], Callable[[], Callback]]] = {
    "RunRecord": (RunRecord, RunRecord),
    "Advice": (Advice, Advice),
    "GroupTable": (GroupTable, partial(GroupTable, log=False)),
    "Watchdog": (Watchdog, Watchdog),
}


def default_callbacks(subcommand: str, trainer: Mapping[str, Any], given: Sequence[Callback]) -> list[Callback]:
    """Return the default callbacks that the configuration does not contain.

    Args:
        subcommand: The subcommand of the command line.
        trainer: The trainer's settings.
        given: The callbacks of the configuration.
    """
    if subcommand != "fit" or trainer["fast_dev_run"] or trainer["barebones"]:
        return []
    wanted = trainer["default_callbacks"]
    names = wanted if isinstance(wanted, list) else _OF_A_FIT if wanted else ()
    wanted_kinds = [_OF_A_FIT[name] for name in dict.fromkeys(names)]
    return [make() for kind, make in wanted_kinds if not any(isinstance(callback, kind) for callback in given)]
