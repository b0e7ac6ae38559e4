"""Encodes values that leave a program as JSON of plain data, which no class of the program can imitate."""

from __future__ import annotations

import json
from collections.abc import Callable, Set
from typing import Any

_MOST_HASHED = 10_000
"""Entries of sets and dicts to read: even if all had one hash, reading them takes no more than a second."""


class UnreadableError(Exception):
    """A value that is no plain data."""


def encode(value: Any) -> str:
    """Return plain data as JSON: Python's literals, fractions, decimals and scalars of numpy.

    Raises:
        UnreadableError: If the value is or holds anything else.

    Example:
        >>> encode({"a": (1, 2.5)})
        '{"dict": [["a", {"tuple": [1, 2.5]}]]}'
        >>> encode(object())
        Traceback (most recent call last):
        lightning_gft.sandbox.values.UnreadableError: object
    """
    try:
        return json.dumps(_tagged(value))
    except (RecursionError, ValueError) as error:
        raise UnreadableError(str(error)) from None


def decode(text: str) -> Any:
    """Return the data of a text by :func:`encode`, which may also come from a malicious program.

    Raises:
        UnreadableError: If the text is no such encoding.

    Example:
        >>> decode('{"dict": [["a", {"tuple": [1, 2.5]}]]}')
        {'a': (1, 2.5)}
    """
    try:
        return _Reader().read(json.loads(text))
    except (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise UnreadableError(str(error)) from None


def _tagged(value: Any) -> Any:
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value) if abs(value) < 1 << 64 else {"int": hex(value)}
    if isinstance(value, list):
        return [_tagged(entry) for entry in value]
    for name, (kind, write, _) in _KINDS.items():
        if isinstance(value, kind):
            return {name: write(value)}
    return _tagged_number(value)


def _tagged_number(value: Any) -> Any:
    """Return a tagged number of a type whose module may not be imported."""
    module, name = type(value).__module__, type(value).__name__
    if (module, name) == ("fractions", "Fraction"):
        return {"fraction": [hex(value.numerator), hex(value.denominator)]}
    if (module, name) == ("decimal", "Decimal"):
        return {"decimal": str(value)}
    if module == "numpy" and getattr(value, "ndim", None) == 0:
        return _tagged(value.item())
    raise UnreadableError(name)


def _entries(value: Any) -> list[Any]:
    return [_tagged(entry) for entry in value]


class _Reader:
    def __init__(self) -> None:
        self._hashed = 0

    def read(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.read(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        ((name, written),) = value.items()
        if name in _NUMBERS:
            return _NUMBERS[name](written)
        kind, _, make = _KINDS[name]
        if isinstance(written, list):
            if kind in (dict, Set, frozenset):
                self._hashed += len(written)
            if self._hashed > _MOST_HASHED:
                raise UnreadableError("too many entries")
            written = self.read(written)
        return make(written)


_KINDS: dict[str, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "int": (int, hex, lambda text: int(text, 16)),
    "tuple": (tuple, _entries, tuple),
    "dict": (dict, lambda value: [[_tagged(key), _tagged(entry)] for key, entry in value.items()], dict),
    "frozenset": (frozenset, _entries, frozenset),
    "set": (Set, _entries, set),
    "bytes": (bytes, lambda value: value.decode("latin-1"), lambda text: text.encode("latin-1")),
    "complex": (complex, lambda value: [value.real, value.imag], lambda pair: complex(*pair)),
}
"""Functions that write and read each kind of value."""


def _fraction(pair: list[str]) -> Any:
    from fractions import Fraction

    return Fraction(*(int(number, 16) for number in pair))


def _decimal(text: str) -> Any:
    from decimal import Decimal

    return Decimal(text)


_NUMBERS: dict[str, Callable[[Any], Any]] = {"fraction": _fraction, "decimal": _decimal}
