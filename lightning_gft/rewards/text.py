"""What several rewards do to a text: find the answer in it, and show it in an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_SHOWN = 200


def after_marker(text: str, marker: str) -> str | None:
    """Return what follows the last marker, ``None`` where it is absent, or the whole text if the marker is empty.

    Args:
        text: A response or a reference.
        marker: What the answer follows.

    Example:
        >>> after_marker("2 + 2 = 4 #### 4", "####")
        ' 4'
    """
    if not marker:
        return text
    _, found, rest = text.rpartition(marker)
    return rest if found else None


def shorten(value: object) -> str:
    r"""Return a value for an error message: on one line, its middle left out where it is long.

    Args:
        value: A prompt, a response, a reference or whatever a function gave back.

    Example:
        >>> shorten("one\ntwo")
        "'one\\ntwo'"
    """
    # The end is kept as well as the beginning: a response's answer stands there.
    shown = repr(value)
    half = _SHOWN // 2
    return shown if len(shown) <= _SHOWN else f"{shown[:half]} ... {shown[-half:]}"


def alternatives(reference: Any) -> Sequence[Any]:
    """Return the references that a response may equal: the entries of a list, or the one that there is.

    Args:
        reference: As the data has it.

    Raises:
        ValueError: If it is an empty list.

    Example:
        >>> alternatives(["5", "6"]), alternatives("5")
        (['5', '6'], ['5'])
    """
    if not isinstance(reference, list | tuple):
        return [reference]
    if not reference:
        raise ValueError("the reference is an empty list: expected at least one answer")
    return reference
