"""Warns of settings of the user that a later file replaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from lightning_gft.cli.documents import CONFIG, typed
from lightning_gft.cli.given import flattened
from lightning_gft.cli.shipped import is_overlay, shipped

_MOST_NAMED = 3


def warn_of_order(files: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Warn if a complete configuration of the package comes later than a file whose settings it replaces.

    Args:
        files: The name and the settings of each ``--config`` file, in the order in which they are layered.

    Example:
        >>> name = str(shipped()["configs/gsm8k.yaml"])
        >>> warn_of_order([(name, {}), ("mine.yaml", {"model": {"optimizer": {"init_args": {"lr": 1.0}}}})])
    """
    earlier: dict[str, tuple[Any, str]] = {}  # the value of each setting, and the file that it is from
    for name, settings in files:
        own = {path: value for path, value in flattened(settings).items() if not isinstance(value, dict | list)}
        replaced = [path for path in own if path in earlier and own[path] != earlier[path][0]]
        if replaced and _is_complete(name):
            before = list(dict.fromkeys(earlier[path][1] for path in replaced))
            if complete := [file for file in before if _is_complete(file)]:
                rank_zero_warn(f"`--config`: expected one complete configuration, got {complete[0]} and {name}")
                return
            more = len(replaced) - _MOST_NAMED
            named = ", ".join(f"`{path}`" for path in replaced[:_MOST_NAMED])
            rank_zero_warn(
                f"--config={name}: expected a complete configuration first, got it after {' and '.join(before)}, of "
                f"which it replaces {named}{f' and {more} more' if more > 0 else ''}; give it before the files that "
                "are to change it"
            )
            return
        earlier |= {path: (value, name) for path, value in own.items()}


def warn_of_early_settings(args: Iterable[str], files: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Warn if a single setting comes before a ``--config`` file that replaces it.

    Args:
        args: Arguments of the command line, in their order.
        files: The name and the settings of each ``--config`` file.

    Example:
        >>> file = ("mine.yaml", {"data": {"init_args": {"seed": 3}}})
        >>> warn_of_early_settings(["--config=mine.yaml", "--data.seed=4"], [file])
    """
    contents, early = dict(files), dict[str, Any]()
    for option, value in typed(args):
        if option not in CONFIG:
            early |= flattened({option.strip("-+"): value})
            continue
        for path, replacing in flattened(contents.get(value, {})).items():
            if early.get(path, str(replacing)) != str(replacing):
                rank_zero_warn(
                    f"--{path}={early[path]}: expected single settings after the files, got it before "
                    f"--config={value}, which replaces it by {replacing}; give it last"
                )
                return


def _is_complete(name: str) -> bool:
    """Return whether a file is, or is a copy of, a complete configuration of the package."""
    content = Path(name).read_bytes()
    return any(path.read_bytes() == content for path in shipped().values() if not is_overlay(path))
