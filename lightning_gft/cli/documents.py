"""YAML as users give it: what is no configuration, or would never end, is refused in a line."""

from __future__ import annotations

import re
import stat
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNQUOTED = re.compile(r":\s#[^\n]*[},]")

_MAX_BYTES = 2**20
_MAX_DEPTH = 100
_MAX_VALUES = 100_000
"""Far more than a configuration has, and so few that reading them takes a second."""


class _StrictLoader(_SafeLoader):  # type: ignore[misc]
    """Refuses a setting that is there twice, of which YAML would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        repeated = [key for key, count in Counter(map(repr, keys)).items() if count > 1]
        if repeated:
            raise yaml.constructor.ConstructorError(None, None, f"{repeated[0]} is there twice", node.start_mark)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def check_yaml(text: str) -> None:
    """Refuse YAML that is too large, too deep, or that stands within itself.

    An alias counts as much as what it stands for, which a few lines of aliases of aliases make astronomical.

    Args:
        text: A whole file or one value.

    Raises:
        ValueError: If a limit is passed.
        yaml.YAMLError: If it is not YAML.

    Example:
        >>> check_yaml("{a: &all [1, 2], b: *all}")
        >>> check_yaml("&all [*all]")
        Traceback (most recent call last):
        ValueError: the alias *all stands within what it stands for; write out what is meant
    """
    if len(text) > _MAX_BYTES:
        raise ValueError(f"expected at most {_MAX_BYTES} characters of YAML, got {len(text)}")
    sizes: dict[str, int] = {}
    opened: list[str | None] = []
    counts = [0]
    for event in yaml.parse(text, Loader=_SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append(event.anchor)
            counts.append(1)
        elif isinstance(event, yaml.CollectionEndEvent):
            _count(counts.pop(), opened.pop(), sizes, counts)
        elif isinstance(event, yaml.ScalarEvent):
            _count(1, event.anchor, sizes, counts)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in opened:
                raise ValueError(f"the alias *{event.anchor} stands within what it stands for; write out what is meant")
            _count(sizes.get(str(event.anchor), 1), None, sizes, counts)
        if len(opened) > _MAX_DEPTH:
            raise ValueError(f"expected at most {_MAX_DEPTH} levels of YAML within each other, got more")
        if counts[-1] > _MAX_VALUES:
            raise ValueError(f"expected at most {_MAX_VALUES} values in YAML, aliases written out, got more")


def _count(size: int, anchor: str | None, sizes: dict[str, int], counts: list[int]) -> None:
    if anchor is not None:
        sizes[anchor] = size
    counts[-1] += size


def check_files(args: Iterable[str]) -> None:
    """Refuse configuration files that are no configuration, by their names.

    Args:
        args: Command-line arguments.

    Raises:
        ValueError: If a file is not YAML, or holds no settings.
    """
    args = list(args)
    named = [value for flag, value in pairwise(args) if flag in ("--config", "-c")]
    named += [arg.removeprefix("--config=") for arg in args if arg.startswith("--config=")]
    for path in map(Path, named):
        _check_place(path)
        if path.is_file():
            _check_file(path)


def _check_place(path: Path) -> None:
    try:
        found = path.stat()
    except FileNotFoundError:
        raise ValueError(f"--config={path}: expected a file, got a path at which there is none") from None
    except OSError as error:
        raise ValueError(f"--config: expected a file, got a path that cannot be one ({error.strerror})") from error
    if stat.S_ISDIR(found.st_mode):
        raise ValueError(f"--config={path}: expected a file, got a folder; name the YAML file in it")
    if stat.S_ISCHR(found.st_mode):  # such as /dev/zero, which never ends; a pipe is fine
        raise ValueError(f"--config={path}: expected a file, got a device")
    if found.st_size > _MAX_BYTES:
        raise ValueError(f"--config={path}: expected a file of at most {_MAX_BYTES} bytes, got {found.st_size}")


def _check_file(path: Path) -> None:
    try:
        text = path.read_text(encoding="utf-8")
        check_yaml(text)
        config = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 (a safe loader that refuses more)
    except OSError as error:
        raise ValueError(f"--config={path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        unquoted = isinstance(error, yaml.YAMLError) and _UNQUOTED.search(text)
        hint = " (quote a value that begins with #)" if unquoted else ""
        raise ValueError(f"--config={path} is not YAML: {' '.join(str(error).split())}{hint}") from error
    except ValueError as error:
        raise ValueError(f"--config={path}: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"--config={path} holds no settings, which are lines such as `seed_everything: 1`")
