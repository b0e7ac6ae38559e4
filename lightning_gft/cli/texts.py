"""Texts for a terminal."""

from __future__ import annotations

from typing import Any


def cut(text: str, length: int) -> str:
    """Return a text without its middle where it is longer than asked for: beginning and end tell most.

    Example:
        >>> cut("abcdefgh", 8), cut("a" * 1000 + "b", 10)
        ('abcdefgh', 'aaaaa ... [991 characters] ... aaaab')
    """
    half = length // 2
    return text if len(text) <= length else f"{text[:half]} ... [{len(text) - 2 * half} characters] ... {text[-half:]}"


def short(value: Any) -> str:
    """Return a figure in four digits or more, without an exponent, and anything else as it is written.

    Example:
        >>> short(0.123456), short(12345.6), short("3/7")
        ('0.1235', '12346', '3/7')
    """
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
