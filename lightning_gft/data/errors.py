"""Names of rows and data sets in errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lightning_gft.chat import TextError
from lightning_gft.errors import GFTTypeError, GFTValueError


def row_name(number: int | str, column: str | None = None) -> str:
    """Return the name of a row in errors: its position in the data as loaded, with its split if there are several.

    Example:
        >>> row_name(7, "prompt")
        "row 7 (counting from 0), column 'prompt'"
    """
    return f"row {number} (counting from 0)" + (f", column {column!r}" if column is not None else "")


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Prefix errors about data with the data set or row that they concern.

    Example:
        >>> with naming("train data"):
        ...     raise ValueError("there are no rows")
        Traceback (most recent call last):
        lightning_gft.errors.GFTValueError: train data: there are no rows
    """
    try:
        yield
    except TypeError as error:
        raise GFTTypeError(f"{what}: {error}") from error
    except ValueError as error:
        raise GFTValueError(f"{what}: {error}") from error


@contextmanager
def naming_rows(cells: Sequence[tuple[int | str, str]]) -> Iterator[None]:
    """Prefix an error about one of several texts with its row and column."""
    try:
        yield
    except TextError as error:
        raise GFTValueError(f"{row_name(*cells[error.index])}: {error}") from error
