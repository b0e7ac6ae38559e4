"""Values of the data as JSON texts that keep their types."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from lightning_gft.checks import shorten
from lightning_gft.errors import GFTTypeError

_MOST_DIGITS = 4000
"""Python writes no longer whole number in decimal digits unless its limit is raised."""


class Padded(dict[str, Any]):
    """An object of a Parquet file or saved data set, in which a null may stand for a key that only other rows have."""


def to_json(value: Any) -> str:
    """Return a value as JSON, with ``{"$type": ...}`` for types that JSON does not have.

    JSON's own types are unchanged. The tags are ``$decimal``, ``$datetime``, ``$date`` and ``$time`` (ISO 8601),
    ``$timedelta`` (days, seconds, microseconds), ``$bytes`` (base64), ``$float`` (``nan``, ``inf``, ``-inf``), ``$int``
    (hexadecimal, beyond 4,000 digits), ``$tuple``, ``$padded`` and, for objects whose keys are not texts or look like a
    tag, ``$dict`` (pairs of key and value).

    Raises:
        TypeError: If a part of the value is of another type.

    Example:
        >>> to_json({"level": 3, "price": Decimal("0.10")})
        '{"level": 3, "price": {"$decimal": "0.10"}}'
    """
    return json.dumps(_tagged(value), ensure_ascii=False, allow_nan=False)


def from_json(text: str) -> Any:
    """Return the value that :func:`to_json` has written.

    Example:
        >>> from_json('{"level": 3, "price": {"$decimal": "0.10"}}')
        {'level': 3, 'price': Decimal('0.10')}
    """
    return json.loads(text, object_hook=_untagged)


def _tagged(value: Any) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return {"$int": hex(value)} if abs(value) >= 10**_MOST_DIGITS else int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": str(float(value))}
    if isinstance(value, list):
        return [_tagged(item) for item in value]
    if isinstance(value, dict):
        return _tagged_object(value)
    for tag, kind, write, _ in _KINDS:
        if isinstance(value, kind):
            return {tag: write(value)}
    raise GFTTypeError(
        "expected texts, numbers, truth values, null, dates, times, bytes, lists and objects of these, got "
        f"{shorten(value)}, a {type(value).__name__}"
    )


def _tagged_object(value: dict[Any, Any]) -> dict[str, Any]:
    pairs = [[_tagged(key), _tagged(item)] for key, item in value.items()]
    if isinstance(value, Padded):
        return {"$padded": pairs}
    if not all(isinstance(key, str) for key in value) or (len(value) == 1 and next(iter(value)).startswith("$")):
        return {"$dict": pairs}
    return dict(pairs)


def _untagged(value: dict[str, Any]) -> Any:
    if len(value) == 1:
        ((tag, content),) = value.items()
        if tag in _READERS:
            return _READERS[tag](content)
    return value


_KINDS: list[tuple[str, type, Callable[[Any], Any], Callable[[Any], Any]]] = [
    ("$decimal", Decimal, str, Decimal),
    ("$datetime", datetime, datetime.isoformat, datetime.fromisoformat),  # before date, its base class
    ("$date", date, date.isoformat, date.fromisoformat),
    ("$time", time, time.isoformat, time.fromisoformat),
    ("$timedelta", timedelta, lambda span: [span.days, span.seconds, span.microseconds], lambda part: timedelta(*part)),
    ("$bytes", bytes, lambda content: base64.b64encode(content).decode(), base64.b64decode),
    ("$tuple", tuple, lambda items: [_tagged(item) for item in items], tuple),
]
_READERS: dict[str, Callable[[Any], Any]] = {
    **{tag: read for tag, _, _, read in _KINDS},
    **{"$int": lambda digits: int(digits, 16), "$float": float, "$padded": Padded, "$dict": dict},
}
