"""What errors say of a row."""

from __future__ import annotations

from lightning_gft.errors import GFTValueError


class TextError(GFTValueError):
    """A text that cannot be encoded.

    Args:
        message: What is wrong.
        index: Which of the texts given together it is, so that a caller can name its row.
    """

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


def row_name(number: int | str, column: str | None = None) -> str:
    """Return what errors call a row.

    Args:
        number: Its position in the data as loaded, before rows are held out; with its split if there are several.
        column: The column at fault.

    Example:
        >>> row_name(7, "prompt")
        "row 7 (counting from 0), column 'prompt'"
    """
    return f"row {number} (counting from 0)" + (f", column {column!r}" if column is not None else "")
