"""Helpers of several rewards that extract answers from texts and format values for errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning_gft.checks import cut
from lightning_gft.errors import GFTValueError

_SHOWN = 200
_SHOWN_OF_ERROR = 1000


def after_marker(text: str, marker: str) -> str | None:
    """Return the text after the last marker, ``None`` if it is absent, or the whole text if the marker is empty.

    Example:
        >>> after_marker("2 + 2 = 4 #### 4", "####")
        ' 4'
    """
    if not marker:
        return text
    _, found, rest = text.rpartition(marker)
    return rest if found else None


def shown(value: object) -> str:
    r"""Return a value for an error message, on one line and without the middle if it is long.

    Example:
        >>> shown("one\ntwo")
        "'one\\ntwo'"
    """
    return cut(repr(value), _SHOWN)


def shorten_text(error: BaseException) -> str:
    """Return the text of an error, without the middle if it is long.

    Example:
        >>> shorten_text(ValueError("a" * 5_000_000))
        'aaaa... ... [4999000 characters] ...aaaa'
    """
    try:
        text = str(error)
    except Exception as failure:  # noqa: BLE001 -- the error's own text may fail; another one replaces it
        return f"(its text cannot be shown: {type(failure).__name__})"
    return cut(text, _SHOWN_OF_ERROR)


def alternatives(reference: Any) -> Sequence[Any]:
    """Return the references that a response may equal: the entries of a list, or the single one.

    Example:
        >>> alternatives(["5", "6"]), alternatives("5")
        (['5', '6'], ['5'])
    """
    if not isinstance(reference, list | tuple):
        return [reference]
    if not reference:
        raise GFTValueError("the reference: expected at least one answer, got an empty list; correct the data")
    return reference
