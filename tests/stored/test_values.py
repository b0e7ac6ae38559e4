"""Values of the data survive as JSON texts, types and all."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest

from lightning_gft.stored import Padded, from_json, to_json

VALUES: dict[str, Any] = {
    "null": None,
    "truth values beside numbers": [True, False, 1, 0, 1.0, 0.0, -0.0],
    "texts that look like others": ["007", "null", "1e5", "2024-01-31", "", "\u00e9\n\u2028", "\U0001f600"],
    "large whole numbers": [10**30, -(2**63) - 1],
    "fractions": [0.1, 1e-320, 1.7976931348623157e308],
    "beyond a float": [Decimal("3.14159265358979323846"), Decimal("1e400"), Decimal("NaN")],
    "not finite": [math.inf, -math.inf],
    "times": [
        datetime(2024, 1, 31, 12, 30, 0, 123456),
        datetime(2024, 1, 31, tzinfo=UTC),
        date(2024, 1, 31),
        time(12, 30, 0, 5),
        timedelta(days=-1, microseconds=3),
    ],
    "bytes": [b"", b"\x00\xff"],
    "nested": {"x": [1, {"y": [None, {"z": (1, (2.5, "3"))}]}], "empty": [{}, [], ()]},
    "objects that look like tags": [{"$decimal": "1"}, {"$date": 1, "x": 2}, {"$dict": [["a", 1]]}, {"$other": 1}],
    "keys that are no texts": {1: "a", None: "b", 2.5: "c"},
    "padded": [Padded(name="add", strict=None), Padded(), {"default": None}],
}


def written(value: Any) -> str:
    """Return a value with the types of all of its parts."""
    if isinstance(value, dict):
        inner = ", ".join(f"{written(key)}: {written(item)}" for key, item in value.items())
    elif isinstance(value, list | tuple):
        inner = ", ".join(map(written, value))
    else:
        inner = repr(value)
    return f"{type(value).__name__}({inner})"


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_comes_back_with_its_types(kind: str):
    text = to_json(VALUES[kind])
    assert written(from_json(text)) == written(VALUES[kind])
    assert json.loads(text) is not None or kind == "null"  # plain JSON, for those who read it without this package


def test_numbers_beyond_the_digits_that_python_writes_come_back():
    huge = [7**9000, -(10**4000), 10**4000 - 1]
    assert from_json(to_json(huge)) == huge


def test_nan_comes_back():
    [value] = from_json(to_json([math.nan]))
    assert math.isnan(value)


@pytest.mark.parametrize("value", [{1, 2}, object(), 1j, [{"x": range(3)}]], ids=lambda value: type(value).__name__)
def test_what_has_no_text_is_refused(value: Any):
    with pytest.raises(TypeError, match="expected texts, numbers, truth values, null, dates"):
        to_json(value)
