"""Finds what the parser leaves out without an error: unknown settings that hold no values."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jsonargparse import Namespace

from lightning_gft.cli.given import LAYERS, flattened
from lightning_gft.cli.unknown import appended, unknown_argument, unknown_setting


def ignored(layers: Sequence[Mapping[str, Any]], parsed: Namespace, options: Collection[str]) -> Iterator[str]:
    """Yield the error for each setting that was given and that the parser has left out.

    jsonargparse reads ``{trainer: {foo: {}}}`` as no setting at all.

    Args:
        layers: Settings of each file, and then those of the command line; a later one replaces an earlier one.
        parsed: What the parser has made of them.
        options: Settings of the command, such as ``trainer.max_steps``.

    Example:
        >>> parsed = Namespace(trainer=Namespace(max_steps=3))
        >>> list(ignored([{"trainer": {"max_stps": {}}}], parsed, ["trainer.max_steps"]))
        ['`trainer.max_stps`: expected a setting of `trainer`, got an unknown one; did you mean `trainer.max_steps`?']
    """
    classes: dict[str, str] = {}
    for number, layer in enumerate(layers):
        classes |= {path: value for path, value in flattened(layer).items() if isinstance(value, str)}
        later = [flattened(one) for one in layers[number + 1 :]]
        yield from _Layer(dict(classes), options, later).left_out("", layer, parsed)


class _Layer(NamedTuple):
    classes: Mapping[str, str]  # of each component once this layer is applied
    options: Collection[str]
    later: Sequence[Mapping[str, Any]]  # settings of the layers after this one, by their paths

    def left_out(self, path: str, given: Any, parsed: Any, owner: str | None = None) -> Iterator[str]:
        """Yield the errors within settings.

        Args:
            path: Full setting of both; empty for the whole command.
            given: What the layer has there.
            parsed: What the parser has there.
            owner: Class whose argument it is; ``None`` outside of all classes.
        """
        if isinstance(given, list):
            yield from self._of_list(path, given, parsed, owner)
        if not isinstance(given, Mapping) or not isinstance(parsed, Namespace | dict):
            return
        known: Any = parsed
        if class_path := isinstance(parsed, Namespace) and parsed.get("class_path"):
            if not _is_same(self.classes.get(path, class_path), class_path):
                return  # a later layer has chosen another class
            owner, known = class_path.rpartition(".")[2], parsed.get("init_args") or {}  # of a class without arguments
            given = _arguments(given)
        known = vars(known) if isinstance(known, Namespace) else known
        is_set = isinstance(parsed, dict)  # whose names are the user's
        for written, value in given.items():
            name, _, rest = str(written).partition(".")
            inner = {rest: value} if rest else value
            full = f"{path}{path and '.'}{name.removesuffix('+')}"
            if name.removesuffix("+") in known:
                yield from self._of_setting(full, name, inner, known[name.removesuffix("+")], owner)
            elif _is_hollow(inner) and not is_set:
                yield self._unknown(full, list(known), owner)

    def _of_setting(self, full: str, name: str, value: Any, made: Any, owner: str | None) -> Iterator[str]:
        if name.endswith("+") and made is not None and not isinstance(made, list):
            if not self._is_replaced(full):
                yield appended(full)
        else:
            yield from self.left_out(full, value, made, owner)

    def _is_replaced(self, full: str) -> bool:
        """Return whether a later layer sets a setting anew, or may do so in the file or class of one above it."""
        above = [full[: dot.start()] for dot in re.finditer(r"\.", full)]
        return any(full in one or any(isinstance(one.get(path), str) for path in above) for one in self.later)

    def _unknown(self, full: str, names: Collection[str], owner: str | None) -> str:
        if owner is not None:
            return unknown_argument(full, owner, names)
        above = full.rpartition(".")[0]
        return unknown_setting(full, [*self.options, *(f"{above}.{name}" for name in names if above)])

    def _of_list(self, path: str, given: Sequence[Any], parsed: Any, owner: str | None) -> Iterator[str]:
        """Yield the errors of entries; each is compared with one of its class, since others may come before it."""
        made = [one for one in parsed if isinstance(one, Namespace)] if isinstance(parsed, list) else []
        for number, entry in enumerate(given):
            class_path = entry.get("class_path") if isinstance(entry, Mapping) else None
            same = next((one for one in made if _is_same(str(class_path), str(one.get("class_path")))), None)
            yield from self.left_out(f"{path}[{number}]", entry, same, owner)


def _arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a component, which may be written with or without ``init_args``."""
    within = given.get("init_args")
    others = {name: value for name, value in given.items() if name not in LAYERS}
    return others | (dict(within) if isinstance(within, Mapping) else {})


def _is_hollow(value: Any) -> bool:
    """Return whether a mapping has no values at any level."""
    return isinstance(value, Mapping) and all(map(_is_hollow, value.values()))


def _is_same(one: str, other: str) -> bool:
    """Return whether two paths may be those of one class: its module may be left out, or another one that has it."""
    return one.rpartition(".")[2] == other.rpartition(".")[2]
