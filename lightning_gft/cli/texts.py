"""Texts for a terminal."""

from __future__ import annotations

from typing import Any


def short(value: Any) -> str:
    """Return a figure in four digits or more, without an exponent, and anything else as it is written.

    Example:
        >>> short(0.123456), short(12345.6), short("3/7")
        ('0.1235', '12346', '3/7')
    """
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
