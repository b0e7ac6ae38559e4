"""Words what jsonargparse says is wrong with a value: what is expected, and the value as YAML writes it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lightning_gft.checks import cut, did_you_mean

LONGEST = 200
"""Characters of a value to show."""

_LISTS = ("list", "tuple", "set", "Sequence", "Iterable", "Collection")
_MAPPINGS = ("dict", "Mapping")
_KINDS = {
    "int": ("a whole number",),
    "float": ("a number",),
    "bool": ("true", "false"),
    "str": ("a text",),
    "NoneType": ("null",),
    **dict.fromkeys(_LISTS, ("a list",)),
    **dict.fromkeys(_MAPPINGS, ("a mapping",)),
    **dict.fromkeys(("Path", "PathLike"), ("a path",)),
    "Callable": ("a function",),
}
_SEVERAL = {"int": "whole numbers", "float": "numbers", "str": "texts"}
_AS_YAML = {"True": "true", "False": "false"}
_PLAIN = re.compile(r"[-+]?[\d.][\d._]*(?:e[-+]?\d+)?|null|true|false|[\[({].*|\w+\(.*", re.IGNORECASE | re.DOTALL)
"""A number, and other values that need no quotes."""
_MODULE = re.compile(r"\b(?:[A-Za-z_]\w*\.)+(?=\w)")

_MISFITS = (
    re.compile(r"Expected a (?P<type>[\w.]+(?:\[.*\])?)\. Got value: ?(?P<value>.*)", re.DOTALL),
    re.compile(r"Not a valid subclass of (?P<type>\w+)\. Got value: ?(?P<value>.*)"),
    re.compile(r"Import path (?P<value>[\w.]+) does not correspond to a subclass of (?P<type>\w+)"),
    re.compile(r"Expected '(?P<value>[\w.]+)' to be a subclass of (?P<type>\w+)\."),
)
_OTHERS = (
    (re.compile(r"Expected an import path or a subclass spec, but .*\. Got value: ?(?P<value>.*)"), "a class_path"),
    (re.compile(r"Expected a dot import path string: ?(?P<value>.*)"), "a class_path"),
    (re.compile(r"Unable to load config (['\"])(?P<value>.*)\1"), "settings or a YAML file"),
)
_MISSING_PART = re.compile(r"module '(?P<module>[\w.]+)' has no attribute '(?P<name>\w+)'")
_ABSTRACT = re.compile(r"Expected an instantiatable class, but (?P<name>[\w.]+) is abstract")
_WITH_VALUE = (
    *_MISFITS,
    *(pattern for pattern, _ in _OTHERS),
    re.compile(r"Expected an instantiatable class, but (?P<value>[\w.]+) is abstract"),
    re.compile(r"expected .*, got (['\"]?)(?P<value>.*?)\1(; .*)?"),  # of :func:`mismatch`
)
_NO_MODULE = "No module named "
_REQUIRED = "the following arguments are required: "


def worded(reason: str, class_path: str = "") -> str:
    """Return a reason of jsonargparse in the words of this package; one that is not known keeps its own.

    Args:
        reason: What jsonargparse says, in one line and without the setting.
        class_path: Class that the reason may be about.

    Example:
        >>> worded("Expected a int. Got value: three")
        "expected a whole number, got 'three'"
        >>> worded("Import path lightning_gft.LoRA does not correspond to a subclass of GroupLoss")
        "expected a GroupLoss, got 'lightning_gft.LoRA'"
    """
    for pattern in _MISFITS:
        if match := pattern.fullmatch(reason):
            return f"expected {expected([match['type']])}, got {shown(match['value'])}"
    for pattern, kind in _OTHERS:
        if match := pattern.fullmatch(reason):
            return f"expected {kind}, got {shown(match['value'])}"
    if match := _MISSING_PART.fullmatch(reason):
        return f"expected a class_path, got {match['module']}.{match['name']}, which does not exist"
    if match := _ABSTRACT.match(reason):
        return (
            f"expected a class_path, got none, and {match['name']} is abstract; a new entry, or one whose name is "
            "misspelt, needs a class_path"
        )
    if class_path and reason.startswith(_NO_MODULE):
        return f"expected a class_path that can be imported, got {class_path} ({reason})"
    if class_path and reason.startswith(_REQUIRED):
        owner = class_path.rpartition(".")[2]
        return f"expected all arguments that {owner} requires, got none for {reason.removeprefix(_REQUIRED)}"
    return reason


def value_in(reason: str, class_path: str = "") -> str:
    """Return the value that a reason of jsonargparse is about, as jsonargparse writes it; empty if it shows none.

    Args:
        reason: As for :func:`worded`.
        class_path: The value if the reason is that it cannot be imported.

    Example:
        >>> value_in("Expected a int. Got value: three"), value_in("module 'torch' has no attribute 'Sorce'")
        ('three', 'torch.Sorce')
    """
    if match := _MISSING_PART.fullmatch(reason):
        return f"{match['module']}.{match['name']}"
    if reason.startswith(_NO_MODULE):
        return class_path
    match = next(filter(None, (pattern.fullmatch(reason) for pattern in _WITH_VALUE)), None)
    return match["value"] if match else ""


def mismatch(types: str, value: str) -> str:
    """Return the error for a value that fits none of several types.

    Args:
        types: The types as jsonargparse lists them, joined by commas.
        value: The value as jsonargparse writes it; ``None`` is the text, which YAML does not read as null.

    Example:
        >>> mismatch("Literal[64, 32], Literal['64', 'bf16'], int, NoneType", "bf17")
        "expected 64, 32, '64', 'bf16', a whole number or null, got 'bf17'; did you mean bf16?"
    """
    kinds = _split(types)
    choices = [choice.strip("'\"") for kind in kinds for choice in _choices(kind)]
    remedy = "; write null" if value == "None" and "NoneType" in kinds else did_you_mean(value, choices)
    return f"expected {expected(kinds)}, got {shown(value)}{remedy}"


def expected(kinds: Iterable[str]) -> str:
    """Return types in words.

    Example:
        >>> expected(["list[lightning.pytorch.Callback]", "lightning.pytorch.Callback", "NoneType"])
        'a list of Callback, a Callback or null'
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
        ("'three'", '1.5', "'None'", '[1, 2]')
    """
    written = _AS_YAML.get(value, value)
    return cut(written if _PLAIN.fullmatch(written) else repr(written), LONGEST)


def _choices(kind: str) -> list[str]:
    name, _, inner = kind.partition("[")
    return _split(inner.removesuffix("]")) if name == "Literal" else []


def _words(kind: str) -> tuple[str, ...]:
    outer, _, inner = kind.partition("[")
    name = outer.rpartition(".")[2]
    if name in (*_LISTS, *_MAPPINGS) and inner:
        elements = [_SEVERAL.get(part, _MODULE.sub("", part)) for part in _split(inner.removesuffix("]"))]
        (whole,) = _KINDS[name]
        return (f"{whole} of {(' to ' if name in _MAPPINGS else ', ').join(elements)}",)
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
