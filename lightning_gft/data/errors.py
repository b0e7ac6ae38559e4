"""Names of rows and data sets in errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from inspect import signature

from lightning_gft.chat import TextError
from lightning_gft.errors import GFTTypeError, GFTValueError


def row_name(number: int | str, column: str | None = None) -> str:
    """Return the name of a row in errors: its position in the data as loaded, with its split if there are several.

    Example:
        >>> row_name(7, "prompt")
        "row 7 (counting from 0), column 'prompt'"
    """
    return f"row {number} (counting from 0)" + (f", column {column!r}" if column is not None else "")


def remedy_without_rows(kind: type, split: str) -> str:
    """Return the remedy for a split without data: the settings of a datamodule that give it some.

    Args:
        kind: Class of the datamodule.
        split: ``"val"`` or ``"test"``.

    Example:
        >>> from lightning_gft import GroupDataModule
        >>> remedy_without_rows(GroupDataModule, "val")
        'set data.val_split or data.val_path'
    """
    options = signature(kind).parameters.values()
    names = [one.name for one in options if one.name.startswith(f"{split}_") and not isinstance(one.default, bool)]
    return f"set {' or '.join(f'data.{name}' for name in names)}" if names else "give a datamodule that has some"


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


def no_column(reader: object, role: str, columns: Iterable[str]) -> GFTValueError:
    """Return the error of a part that reads demonstrations of which the data name no column.

    Args:
        reader: The part.
        role: Role of the demonstrations.
        columns: Columns of the data.

    Example:
        >>> str(no_column(object(), "teacher", ["prompt"])).partition("; ")[0]
        "`object`: expected a column of teacher responses, got the columns 'prompt' and none as data.teacher_column"
        >>> str(no_column(object(), "critic", ["prompt"])).partition("; ")[2]
        'let the datamodule make one, or leave object out'
    """
    kind, named = type(reader).__name__, ", ".join(map(repr, columns))
    has_option = role in ("expert", "teacher")  # others come from a datamodule of the user
    there = f" and none as data.{role}_column; name one there, let" if has_option else "; let"
    return GFTValueError(
        f"`{kind}`: expected a column of {role} responses, got {f'the columns {named}' if named else 'no columns'}"
        f"{there} the datamodule make one, or leave {kind} out"
    )
