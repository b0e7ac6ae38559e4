"""What errors say of a row."""

from __future__ import annotations


class TextError(ValueError):
    """A text that cannot be encoded."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


def row_name(number: int | str, column: str | None = None) -> str:
    """Return what errors call a row.

    Example:
        >>> row_name(7, "prompt")
        "row 7 (counting from 0), column 'prompt'"
    """
    return f"row {number} (counting from 0)" + (f", column {column!r}" if column is not None else "")
