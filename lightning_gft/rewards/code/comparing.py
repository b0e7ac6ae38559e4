"""Compares a program's results with the expected ones, outside its sandbox."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

from lightning_gft.rewards.code.unit_tests import Operation

_DECIMAL = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_TOLERANCE = 1e-6


def holds(value: Any, operation: Operation, expected: Any) -> bool:
    """Return whether a comparison of plain data holds; false for types that cannot be compared.

    Example:
        >>> holds((1, 2), "==", (1, 2)), holds((1, 2), "==", [1, 2]), holds("a", "<", 3)
        (True, False, False)
        >>> holds((1, 2), "json", [1, 2]), holds(3, "json", [3])
        (True, True)
        >>> holds(0.1 + 0.2, "json", 0.3), holds(0.1 + 0.2, "==", 0.3)
        (True, False)
    """
    try:
        return bool(_COMPARED[operation](value, expected))
    except (TypeError, ValueError, ArithmeticError, RecursionError):
        return False


def same_output(written: str, expected: str) -> bool:
    r"""Return whether a program's output is as expected: the same words on the same lines, decimals within 1e-6.

    White space at the end of lines and of the output is ignored.

    Example:
        >>> same_output("1 2.0000000\n\n", "1 2.0"), same_output("1\n2", "1 2")
        (True, False)
    """
    lines, wanted = (text.strip().splitlines() for text in (written, expected))
    if len(lines) != len(wanted):
        return False
    return all(_same_line(line.split(), other.split()) for line, other in zip(lines, wanted, strict=True))


def _same_line(words: list[str], wanted: list[str]) -> bool:
    return len(words) == len(wanted) and all(map(_same_word, words, wanted))


def _same_word(word: str, wanted: str) -> bool:
    if word == wanted:
        return True
    if not (any(mark in wanted for mark in ".eE") and _DECIMAL.fullmatch(wanted) and _DECIMAL.fullmatch(word)):
        return False  # whole numbers must be equal exactly
    return math.isclose(float(word), float(wanted), rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)


def _equal_as_json(value: Any, expected: Any) -> bool:
    """Compare as JSON: tuples equal lists, and an output may be wrapped in a list of its own."""
    return _alike(value, expected) or (isinstance(expected, list) and len(expected) == 1 and _alike(value, expected[0]))


def _alike(value: Any, expected: Any) -> bool:
    if isinstance(expected, list | tuple):
        return isinstance(value, list | tuple) and len(value) == len(expected) and all(map(_alike, value, expected))
    if isinstance(expected, dict):
        return (
            isinstance(value, dict)
            and value.keys() == expected.keys()
            and all(_alike(value[key], entry) for key, entry in expected.items())
        )
    if isinstance(expected, float) and _is_number(value):
        return math.isclose(float(value), expected, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return bool(value == expected)  # whole numbers must be equal exactly


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Fraction | Decimal)


def _identical(value: Any, expected: Any) -> bool:
    return type(value) is type(expected) and bool(value == expected)


_COMPARED: dict[Operation, Callable[[Any, Any], Any]] = {
    **{"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge},
    "in": lambda value, expected: value in expected,
    "not in": lambda value, expected: value not in expected,
    "is": _identical,
    "is not": lambda value, expected: not _identical(value, expected),
    "json": _equal_as_json,
}
