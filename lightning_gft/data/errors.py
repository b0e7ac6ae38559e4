"""What errors say of a row, and the checks that options share."""

from __future__ import annotations

from numbers import Integral


class TextError(ValueError):
    """A text that cannot be encoded.

    Args:
        message: What is wrong.
        index: Which of the texts given together it is, so that a caller can name its row.
    """

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


def shorten(value: object, length: int = 80) -> str:
    """Return a value as Python writes it, or its beginning if that is long.

    Args:
        value: What an error shows.
        length: Most characters to show.

    Example:
        >>> shorten("1+1="), shorten("1+" * 100, length=10)
        ("'1+1='", "'1+1+1+1+…")
    """
    written = repr(value)
    return written if len(written) <= length else written[: length - 1] + "…"


def row_name(number: int, column: str | None = None) -> str:
    """Return what errors call a row.

    Args:
        number: Its position in the data as loaded, before rows are held out.
        column: The column at fault.

    Example:
        >>> row_name(7, "prompt")
        "row 7 (counting from 0), column 'prompt'"
    """
    return f"row {number} (counting from 0)" + (f", column {column!r}" if column is not None else "")


def check_count(field: str, count: object, least: int = 1, otherwise: str = "") -> None:
    """Refuse what is not a whole number, or is too small.

    Args:
        field: Name of the option.
        count: Its value.
        least: Smallest value that it may have.
        otherwise: What else it may be, as errors put it.

    Raises:
        TypeError: If it is not a whole number.
        ValueError: If it is too small.

    Example:
        >>> check_count("batch_size", 8)
    """
    if not isinstance(count, Integral) or isinstance(count, bool):
        raise TypeError(f"{field}={count!r} must be a whole number{otherwise}")
    if int(count) < least:
        raise ValueError(f"{field}={count} must be at least {least}{otherwise}")


def check_marker(field: str, marker: object) -> None:
    """Refuse a marker that is no text; most often it is a ``#`` that plain YAML took for the start of a comment.

    Args:
        field: Name of the option.
        marker: Its value.

    Raises:
        ValueError: If the marker is null.

    Example:
        >>> check_marker("answer_marker", "####")
    """
    if marker is None:
        raise ValueError(
            f'{field} is null: in YAML, quote a value that begins with #, as in {field}: "####"; an empty text means '
            "no marker"
        )
