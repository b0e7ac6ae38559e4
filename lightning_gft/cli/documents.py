"""Reads YAML of users, and rejects in one line what is no configuration or would take for ever to read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from lightning_gft.checks import closest_name, cut
from lightning_gft.cli.light import PROG
from lightning_gft.cli.shipped import shipped
from lightning_gft.cli.yaml_errors import place_of_error, problem_of
from lightning_gft.errors import GFTUsageError, GFTValueError

_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNQUOTED = re.compile(r":\s#[^\n]*[},]")

_MAX_CHARACTERS = 2**20
_MAX_DEPTH = 100
_MAX_VALUES = 100_000
"""Values of the largest document: far more than a configuration has, yet read within a second."""
_SHOWN = 200


class _StrictLoader(_SafeLoader):  # type: ignore[misc]
    """Raises an error for a setting that is given twice, of which YAML would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"):
            if (shown := repr(key.value)) in seen:
                reason = f"expected each setting once, got {shown} twice; remove one"
                raise yaml.constructor.ConstructorError(None, None, reason, key.start_mark)
            seen.add(shown)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def check_yaml(text: str) -> None:
    """Raise an error if YAML is too large, too deep, or contains itself.

    An alias counts as many values as its anchor: a few lines of nested aliases can expand to astronomical sizes.

    Example:
        >>> check_yaml("{a: &all [1, 2], b: *all}")
        >>> check_yaml("&all [*all]")
        Traceback (most recent call last):
        lightning_gft.errors.GFTValueError: expected no alias within its own anchor, got *all; write it out
    """
    if len(text) > _MAX_CHARACTERS:
        raise GFTValueError(f"expected at most {_MAX_CHARACTERS} characters of YAML, got more")
    sizes: dict[str | None, int] = {}
    opened: list[str | None] = []  # anchors of the collections that enclose an event
    counts = [0]  # values in each of these collections
    for event in yaml.parse(text, Loader=_SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append(event.anchor)
            counts.append(0)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in opened:
                raise GFTValueError(f"expected no alias within its own anchor, got *{event.anchor}; write it out")
            counts[-1] += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            sizes[event.anchor] = 1
            counts[-1] += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            size = counts.pop() + 1
            sizes[opened.pop()] = size
            counts[-1] += size
        if len(opened) > _MAX_DEPTH:
            raise GFTValueError(f"expected at most {_MAX_DEPTH} nested levels of YAML, got more; flatten it")
        if counts[-1] > _MAX_VALUES:
            raise GFTValueError(f"expected at most {_MAX_VALUES} values in YAML, aliases expanded, got more")


CONFIG = ("--config", "-c")
"""Options that name a configuration file."""

_ATTACHED = re.compile(r"-c([^=].*)", re.DOTALL)
_READ: ContextVar[dict[str, dict[str, Any]] | None] = ContextVar("read", default=None)


def typed(args: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the options among arguments and their values, in their order.

    Example:
        >>> list(typed(["fit", "--config", "a.yaml", "-cb.yaml", "--data.seed=3", "--print_config"]))
        [('--config', 'a.yaml'), ('-c', 'b.yaml'), ('--data.seed', '3'), ('--print_config', '')]
    """
    for flag, value in pairwise([*args, ""]):
        if attached := _ATTACHED.fullmatch(flag):
            yield "-c", attached[1]
        elif flag.startswith("-"):
            option, equals, own = flag.partition("=")
            yield option, own if equals or value.startswith("--") else value


@contextmanager
def reading_once() -> Iterator[None]:
    """Context of one command, in which each configuration file is read and checked once.

    Example:
        >>> path = str(shipped()["configs/gsm8k.yaml"])
        >>> with reading_once():
        ...     read_files(["-c", path])[0][1] is read_files(["-c", path])[0][1]
        True
    """
    token = _READ.set({} if _READ.get() is None else _READ.get())
    try:
        yield
    finally:
        _READ.reset(token)


def read_files(args: Iterable[str]) -> list[tuple[str, dict[str, Any]]]:
    """Return the name and the settings of each ``--config`` file among arguments, in their order.

    Those of a pipe, which can be read only once, are left out.

    Raises:
        ValueError: If a file is missing or no configuration, with its name.
    """
    named = [value for option, value in typed(args) if option in CONFIG]
    if "" in named:
        raise GFTUsageError("`--config`: expected a YAML file, got none; give its path, as in --config=run.yaml")
    known = _READ.get()
    read = {} if known is None else known
    for name in named:
        if name not in read and not _is_pipe(name):
            read[name] = _read(name)
    return [(name, read[name]) for name in named if name in read]


def _is_pipe(name: str) -> bool:
    """Return whether a file can be read only once."""
    try:
        return Path(name).is_fifo()
    except OSError:  # a name that is too long
        return False


def _read(name: str) -> dict[str, Any]:
    text = ""
    try:
        with Path(name).open(encoding="utf-8") as file:
            text = file.read(_MAX_CHARACTERS + 1)  # limited, as some devices never end
        check_yaml(text)
        settings = yaml.load(text, _StrictLoader)  # noqa: S506 (a subclass of the safe loader)
    except OSError as error:
        raise _config_error(name, f"expected a YAML file, got {error.strerror}; {_remedy(name)}") from error
    except yaml.YAMLError as error:
        hint = "; quote a value that begins with #" if _UNQUOTED.search(text) else ""
        raise _config_error(name, problem_of(error, text) + hint, place_of_error(error, text)) from error
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise _config_error(name, f"expected a text in UTF-8, got the byte 0x{byte:02x}; save it as UTF-8") from error
    except ValueError as error:
        raise _config_error(name, str(error)) from error
    if not isinstance(settings, dict):
        got = "nothing" if settings is None else "a list" if isinstance(settings, list) else "a single value"
        raise _config_error(name, f"expected settings, got {got}; write some, such as `seed_everything: 1`")
    return settings


def _remedy(name: str) -> str:
    """Return how to get a file that is missing: those of the package are copied on request."""
    known = Path(name).as_posix().removeprefix("./")
    if known in shipped():
        return f"`{PROG} configs copy {known}` copies the package's to it"
    beside = {path.name: path for path in Path(name).parent.glob("*.y*ml")}
    closest = closest_name(Path(name).name, beside)
    return f"did you mean {beside[closest]}?" if closest else "give another path"


def _config_error(name: str, reason: str, place: str = "") -> GFTUsageError:
    return GFTUsageError(f"`--config={cut(name, _SHOWN)}`{place and f', {place}'}: {reason}")
