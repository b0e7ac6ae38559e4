"""Checks the order of files and single settings, of which a later one replaces an earlier one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from lightning_gft.checks import cut
from lightning_gft.cli.documents import CONFIG, check_yaml, typed
from lightning_gft.cli.given import flattened
from lightning_gft.cli.shipped import is_overlay, shipped
from lightning_gft.errors import GFTUsageError

_MOST_NAMED = 12
_MOST_SHOWN = 60


def check_order(files: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Raise an error if a complete configuration of the package replaces settings of a file that comes before it.

    The settings that the user chose would have no effect, which may be noticed only after hours of training.

    Args:
        files: The name and the settings of each ``--config`` file, in the order in which they are layered.

    Raises:
        ValueError: If it does.

    Example:
        >>> name = str(shipped()["configs/gsm8k.yaml"])
        >>> check_order([(name, {}), ("mine.yaml", {"model": {"optimizer": {"init_args": {"lr": 1.0}}}})])
    """
    earlier: dict[str, tuple[Any, str]] = {}  # the value of each setting, and the file that it is from
    for name, settings in files:
        own = _comparable(settings)
        replaced = [path for path in own if path in earlier and not _is_same(own[path], earlier[path][0])]
        if replaced and is_complete(name):
            before = list(dict.fromkeys(earlier[path][1] for path in replaced))
            lost = _listed([f"`{path}` ({_brief(earlier[path][0])} by {_brief(own[path])})" for path in replaced])
            if complete := [file for file in before if is_complete(file)]:
                raise GFTUsageError(
                    f"`--config`: expected one complete configuration, got {complete[0]} and {name}, which replaces "
                    f"{lost}; leave one out"
                )
            ordered = " ".join(f"--config={file}" for file in dict.fromkeys([name, *(file for file, _ in files)]))
            raise GFTUsageError(
                f"`--config={name}`: expected a complete configuration first, got it after {' and '.join(before)}, of "
                f"which it replaces {lost}; give them as {ordered}"
            )
        earlier |= {path: (value, name) for path, value in own.items()}


def check_early_settings(args: Iterable[str], files: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Raise an error if a single setting comes before a ``--config`` file that replaces it.

    Args:
        args: Arguments of the command line, in their order.
        files: The name and the settings of each ``--config`` file.

    Raises:
        ValueError: If it does.

    Example:
        >>> file = ("mine.yaml", {"data": {"init_args": {"seed": 3}}})
        >>> check_early_settings(["--data.seed=3", "--config=mine.yaml"], [file])
    """
    contents, early = dict(files), dict[str, Any]()
    for option, value in typed(args):
        if option not in CONFIG:
            early |= _typed(option.strip("-+"), value)
            continue
        replacing = _comparable(contents.get(value, {}))
        lost = [path for path in early if path in replacing and not _is_typed(early[path], replacing[path])]
        if lost:
            both = [f"--{path}={_brief(early[path])} by {_brief(replacing[path])}" for path in lost]
            raise GFTUsageError(
                f"`--config={value}`: expected a file before single settings, got it after those that it replaces: "
                f"{_listed(both)}; give single settings last"
            )


def _typed(name: str, value: str) -> dict[str, Any]:
    """Return a setting of the command line, or all settings within it."""
    settings = _loaded(value) if value.startswith("{") else value
    return _comparable({name: settings if isinstance(settings, dict) else value})


def _is_typed(value: Any, other: object) -> bool:
    """Return whether a value of the command line, a text or within YAML, is that of a file."""
    return _is_same(value, other) or (isinstance(value, str) and _is_same(_loaded(value), other))


def _loaded(text: str) -> Any:
    """Return a value of the command line as YAML, or its text if it is none."""
    try:
        check_yaml(text)
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):  # a text, or what the parser will reject
        return text


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two values are the same to the parser.

    YAML reads ``1e-4`` as a text, and a class of this package has a short name.
    """
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_is_same(one[name], other[name]) for name in one)
    if isinstance(one, str) and isinstance(other, str) and min(one, other, key=len).isidentifier():
        return one.rpartition(".")[2] == other.rpartition(".")[2]
    with suppress(TypeError, ValueError):
        return one == other or float(one) == float(other)
    return bool(one == other)


def _comparable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a later file replaces, by path: values, lists, and the names in a set of parts."""
    comparable = {}
    for path, value in flattened(settings).items():
        if not isinstance(value, dict) and "[" not in path:
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


def is_complete(name: str) -> bool:
    """Return whether a file is, or is a copy of, a complete configuration of the package."""
    return any(not is_overlay(path) for path in _copied(name))


def overlays_among(names: Iterable[str]) -> list[str]:
    """Return the files that are, or are copies of, overlays of the package.

    Example:
        >>> overlays = overlays_among(map(str, shipped().values()))
        >>> str(shipped()["configs/gsm8k.yaml"]) in overlays, str(shipped()["configs/overlays/grpo.yaml"]) in overlays
        (False, True)
    """
    return [name for name in names if any(map(is_overlay, _copied(name)))]


def _copied(name: str) -> list[Path]:
    """Return the package's configurations that a file is the same as."""
    content = Path(name).read_bytes()
    return [path for path in shipped().values() if path.read_bytes() == content]
