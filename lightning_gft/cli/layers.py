"""Warns of a complete configuration that is layered over settings of the user."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from lightning_gft.cli.given import flattened
from lightning_gft.cli.shipped import is_overlay, shipped

_MOST_NAMED = 3


def warn_of_order(files: Mapping[str, Mapping[str, Any]]) -> None:
    """Warn if a complete configuration of the package comes later than a file whose settings it replaces.

    Args:
        files: The settings of each ``--config`` file by its name, in the order in which they are layered.

    Example:
        >>> name = str(shipped()["configs/gsm8k.yaml"])
        >>> warn_of_order({name: {}, "mine.yaml": {"model": {"optimizer": {"init_args": {"lr": 1.0}}}}})
    """
    complete = {path.read_bytes() for path in shipped().values() if not is_overlay(path)}
    earlier: dict[str, Any] = {}
    before = ""
    for name, settings in files.items():
        own = _leaves(settings)
        replaced = [path for path in own if path in earlier and own[path] != earlier[path]]
        if replaced and Path(name).read_bytes() in complete:
            more = len(replaced) - _MOST_NAMED
            named = ", ".join(f"`{path}`" for path in replaced[:_MOST_NAMED]) + (
                f" and {more} more" if more > 0 else ""
            )
            rank_zero_warn(
                f"--config={name}: expected a complete configuration first, got it after {before}, of which it "
                f"replaces {named}; give it before the files that are to change it"
            )
            return
        earlier |= own
        before = f"{before} and {name}" if before else name


def _leaves(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {path: value for path, value in flattened(settings).items() if not isinstance(value, dict | list)}
