"""Formats texts for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_gft.checks import cut

_LONG = 600
"""Characters of a text to show, from its beginning and its end."""


def short(value: Any) -> str:
    """Return a number with four digits or more and no exponent; any other value as its text.

    Example:
        >>> short(0.123456), short(12345.6), short("3/7")
        ('0.1235', '12346', '3/7')
    """
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def short_or_dash(value: float | None) -> str:
    """Return a number as :func:`short` does, or a dash for ``None``.

    Example:
        >>> short_or_dash(0.5), short_or_dash(None)
        ('0.5', '-')
    """
    return "-" if value is None else short(value)


def reward_line(rewards: Mapping[str, float | None]) -> str:
    """Return rewards by name as one line.

    Example:
        >>> reward_line({"accuracy": 1.0, "format": None})
        'accuracy 1, format -'
    """
    return ", ".join(f"{name} {short_or_dash(score)}" for name, score in rewards.items())


def indented(text: str) -> str:
    """Return a text with each line indented; a long text is shortened.

    Example:
        >>> indented("2+2 is 4")
        '    2+2 is 4'
    """
    return "\n".join(f"    {line}" for line in cut(text, _LONG).split("\n"))
