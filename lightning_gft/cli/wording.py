"""Words what jsonargparse says is wrong with a value: what is expected, and the value as YAML writes it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lightning_gft.checks import cut, did_you_mean

LONGEST = 200
"""Characters of a value to show."""

_KINDS = {
    "int": ("a whole number",),
    "float": ("a number",),
    "bool": ("true", "false"),
    "str": ("a text",),
    "NoneType": ("null",),
    **dict.fromkeys(("list", "tuple", "set", "Sequence", "Iterable", "Collection"), ("a list",)),
    **dict.fromkeys(("dict", "Mapping"), ("a mapping",)),
    **dict.fromkeys(("Path", "PathLike"), ("a path",)),
    "Callable": ("a function",),
}
_AS_YAML = {"None": "null", "True": "true", "False": "false"}
_PLAIN = re.compile(r"[-+]?[\d.][\d._]*(?:e[-+]?\d+)?|null|true|false|[\[({].*|\w+\(.*", re.IGNORECASE | re.DOTALL)
"""A number, and other values that need no quotes."""

_MISSING_PART = re.compile(r"module '(?P<module>[\w.]+)' has no attribute '(?P<name>\w+)'")
_REASONS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"Expected a dot import path string: (?P<value>.*)"), "expected a class_path, got {value}"),
    (
        re.compile(r"Not a valid subclass of (?P<type>\w+)\. Got value: (?P<value>.*)"),
        "expected {type}, got {value}",
    ),
    (
        re.compile(r"Import path (?P<value>[\w.]+) does not correspond to a subclass of (?P<type>\w+)"),
        "expected {type}, got {value}",
    ),
    (
        re.compile(r"Expected '(?P<value>[\w.]+)' to be a subclass of (?P<type>\w+)\."),
        "expected {type}, got {value}",
    ),
    (
        re.compile(r"Expected an instantiatable class, but (?P<value>[\w.]+) is abstract"),
        "expected a class_path, got none, and {value!s} is abstract; a new entry, or one whose name is misspelt, needs "
        "a class_path",
    ),
    (re.compile(r"Unable to load config (['\"])(?P<value>.*)\1"), "expected settings or a YAML file, got {value}"),
    (re.compile(r"(?P<value>No module named '[\w.]+')"), "expected a class_path that can be imported, got: {value!s}"),
    (re.compile(r"Expected a (?P<type>.*)\. Got value: (?P<value>.*)", re.DOTALL), "expected {type}, got {value}"),
)
"""Reasons of jsonargparse, and the words for them; a reason that is none of these keeps its own."""


class _Shown(str):
    """A value of a reason: as YAML writes it, or with ``!s`` as it is."""

    def __format__(self, _: str) -> str:
        return shown(str(self))

    def __str__(self) -> str:
        return cut(str.__str__(self), LONGEST)


def worded(reason: str, owner: str = "") -> str:
    """Return a reason of jsonargparse in the words of this package, if they are known.

    Args:
        reason: What jsonargparse says, in one line and without the setting.
        owner: Name of the class whose argument the reason may be about.

    Example:
        >>> worded("Expected a int. Got value: three")
        "expected a whole number, got 'three'"
        >>> worded("Import path lightning_gft.LoRA does not correspond to a subclass of GroupLoss")
        "expected a GroupLoss, got 'lightning_gft.LoRA'"
    """
    if part := _MISSING_PART.fullmatch(reason):
        return f"expected a class_path, got {part['module']}.{part['name']}, which does not exist"
    missing = "the following arguments are required: "
    if owner and reason.startswith(missing):
        return f"expected all arguments that {owner} requires, got none for {reason.removeprefix(missing)}"
    for pattern, words in _REASONS:
        if match := pattern.fullmatch(reason):
            found = match.groupdict()
            kind = expected([found["type"]]) if "type" in found else ""
            return words.format(type=kind, value=_Shown(found["value"]))
    return reason


def mismatch(types: str, value: str) -> str:
    """Return the error for a value that fits none of several types.

    Args:
        types: The types as jsonargparse lists them, joined by commas.
        value: The value as jsonargparse writes it.

    Example:
        >>> mismatch("Literal[64, 32], Literal['64', 'bf16'], int, NoneType", "bf17")
        "expected 64, 32, '64', 'bf16', a whole number or null, got 'bf17'; did you mean bf16?"
    """
    kinds = _split(types)
    choices = [choice.strip("'\"") for kind in kinds for choice in _choices(kind)]
    return f"expected {expected(kinds)}, got {shown(value)}{did_you_mean(value, choices)}"


def expected(kinds: Iterable[str]) -> str:
    """Return types in words.

    Example:
        >>> expected(["list[lightning.pytorch.Callback]", "lightning.pytorch.Callback", "NoneType"])
        'a list, a Callback or null'
    """
    words = dict.fromkeys(word for kind in kinds for word in _choices(kind) or _words(kind))
    if "a number" in words:
        words.pop("a whole number", None)
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def shown(value: str) -> str:
    """Return a value, which Python has written, as YAML would write it.

    Example:
        >>> shown("three"), shown("1.5"), shown("None"), shown("[1, 2]")
        ("'three'", '1.5', 'null', '[1, 2]')
    """
    written = _AS_YAML.get(value, value)
    return cut(written if _PLAIN.fullmatch(written) else repr(written), LONGEST)


def _choices(kind: str) -> list[str]:
    name, _, inner = kind.partition("[")
    return _split(inner.removesuffix("]")) if name == "Literal" else []


def _words(kind: str) -> tuple[str, ...]:
    name = kind.partition("[")[0].rpartition(".")[2]
    return _KINDS.get(name, (f"{'an' if name[:1] in 'AEIO' else 'a'} {name}",))


def _split(types: str) -> list[str]:
    """Split at the commas that are in no brackets."""
    parts, depth = [""], 0
    for character in types:
        depth += (character in "[(") - (character in "])")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]
