"""Checks of configuration files, without their classes: a section or a part that holds no settings at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightning_gft.checks import cut
from lightning_gft.cli.given import flattened, is_given_in
from lightning_gft.cli.light import COMMANDS
from lightning_gft.errors import GFTUsageError

SECTIONS = ("trainer", "model", "data")
_CONTENTS: dict[str, tuple[tuple[type, ...], str]] = {
    "class_path": ((str,), "a class_path"),
    "init_args": ((Mapping,), "arguments"),
    "dict_kwargs": ((Mapping, type(None)), "arguments"),
}
_SHOWN = 60


def check_shapes(layers: Sequence[Mapping[str, Any]], required: Sequence[str]) -> None:
    """Raise an error for a section without settings, a class that is no text, and a required setting of null.

    Args:
        layers: Settings of each file, and then those of the command line; a later one replaces an earlier one.
        required: Settings that every run requires.

    Raises:
        ValueError: If a file has one of them.

    Example:
        >>> check_shapes([{"trainer": {"max_steps": 3}, "data": "data.yaml"}], ["data"])
        >>> check_shapes([{"trainer": None}], [])
        Traceback (most recent call last):
        lightning_gft.errors.GFTUsageError: `trainer`: expected settings, got null; write some, or remove it
    """
    for number, layer in enumerate(layers):
        later = [settings for one in layers[number + 1 :] for settings in _of_commands(one)]
        for settings in _of_commands(layer):
            for section in SECTIONS:
                value = settings.get(section, "")
                is_filled = value is None and is_given_in(later, section)
                if not is_filled and not isinstance(value, Mapping | str):
                    raise GFTUsageError(
                        f"`{section}`: expected settings, got {_shown(value)}; write some, or remove it"
                    )
            _check_contents(settings)
            values = flattened(settings)
            for path in required:
                if values.get(path, "") is None and not is_given_in(later, path):
                    raise GFTUsageError(f"`{path}`: expected a class_path, got null; name a class, or remove it")


def _of_commands(settings: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the settings of a file, or those of each command in it."""
    yield settings
    yield from (settings[name] for name in COMMANDS if isinstance(settings.get(name), Mapping))


def _check_contents(node: Any, path: str = "") -> None:
    inner = node.items() if isinstance(node, Mapping) else ()
    for name, value in inner:
        full = f"{path}{path and '.'}{name}"
        if name in _CONTENTS and not isinstance(value, _CONTENTS[name][0]):
            raise GFTUsageError(f"`{full}`: expected {_CONTENTS[name][1]}, got {_shown(value)}; write it, or remove it")
        _check_contents(value, full)
    for number, value in enumerate(node if isinstance(node, list) else ()):
        _check_contents(value, f"{path}[{number}]")


def _shown(value: object) -> str:
    return "null" if value is None else cut(str(value), _SHOWN)
