"""Warns of settings of the user that a later file replaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from lightning_gft.checks import cut
from lightning_gft.cli.documents import CONFIG, typed
from lightning_gft.cli.given import flattened
from lightning_gft.cli.shipped import is_overlay, shipped

_MOST_NAMED = 12
_MOST_SHOWN = 60


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
        own = _comparable(settings)
        replaced = [path for path in own if path in earlier and own[path] != earlier[path][0]]
        if replaced and _is_complete(name):
            before = list(dict.fromkeys(earlier[path][1] for path in replaced))
            if complete := [file for file in before if _is_complete(file)]:
                rank_zero_warn(f"`--config`: expected one complete configuration, got {complete[0]} and {name}")
                return
            lost = [f"`{path}` ({_brief(earlier[path][0])} by {_brief(own[path])})" for path in replaced]
            rank_zero_warn(
                f"--config={name}: expected a complete configuration first, got it after {' and '.join(before)}, of "
                f"which it replaces {_listed(lost)}; give it before the files that are to change it"
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
        replacing = flattened(contents.get(value, {}))
        lost = [path for path in early if str(replacing.get(path, early[path])) != early[path]]
        if lost:
            both = [f"--{path}={_brief(early[path])} by {_brief(replacing[path])}" for path in lost]
            rank_zero_warn(
                f"--config={value}: expected a file before single settings, got it after those that it replaces: "
                f"{_listed(both)}; give single settings last"
            )
            return


def _comparable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a later file replaces, by path: plain values, and the names in a set of parts."""
    comparable = {}
    for path, value in flattened(settings).items():
        if not isinstance(value, dict | list):
            comparable[path] = value
        elif isinstance(value, dict) and _is_set(value):
            comparable[path] = f"{{{', '.join(value)}}}"
    return comparable


def _is_set(value: Mapping[str, Any]) -> bool:
    return all(isinstance(part, Mapping) and "class_path" in part for part in value.values())


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _brief(value: object) -> str:
    """Return a value on one line; a template may be a page."""
    return cut(" ".join(str(value).split()), _MOST_SHOWN)


def _is_complete(name: str) -> bool:
    """Return whether a file is, or is a copy of, a complete configuration of the package."""
    content = Path(name).read_bytes()
    return any(path.read_bytes() == content for path in shipped().values() if not is_overlay(path))
