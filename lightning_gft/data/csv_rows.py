"""Rows from tables of text: every cell is a text, and an empty cell is null."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from lightning_gft.checks import shorten
from lightning_gft.data.columns import Row
from lightning_gft.errors import GFTValueError

_LONGEST_CELL = 2**31 - 1


def read_csv(file: BinaryIO, name: str, delimiter: str = ",", quotechar: str = '"') -> list[Row]:
    r"""Return the rows of a table whose first line holds the names of the columns.

    Example:
        >>> read_csv(io.BytesIO(b"prompt,answer\nWhich agent?,007\nWhich value?,NA\nNone?,"), "rows.csv")[1:]
        [{'prompt': 'Which value?', 'answer': 'NA'}, {'prompt': 'None?', 'answer': None}]
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        lines = _lines(csv.reader(text, delimiter=delimiter, quotechar=quotechar, strict=True), name)
        with _cells_of_any_length():
            _, header = next(lines, (1, []))
            _check_header(header, name)
            return [_row(header, cells, f"line {number} of {name}") for number, cells in lines]
    finally:
        text.detach()


def _lines(reader: Iterator[list[str]], name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each row with the line that it begins on."""
    number = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise GFTValueError(
                f"line {number} of {name}: expected a row of cells, got one that cannot be split ({error}); close "
                "every quotation mark, and write one inside quotation marks twice"
            ) from error
        if cells is None:
            return
        if cells:
            yield number, cells
        number = reader.line_num + 1  # type: ignore[attr-defined]


def _row(header: list[str], cells: list[str], where: str) -> Row:
    if len(cells) != len(header):
        raise GFTValueError(
            f"{where}: expected {len(header)} cells, one for each name in the header, got {len(cells)}: "
            f"{shorten(','.join(cells))}; put a cell that holds a comma, a line break or a quotation mark into "
            "quotation marks"
        )
    return {column: cell or None for column, cell in zip(header, cells, strict=True)}


def _check_header(header: list[str], name: str) -> None:
    if not header:
        raise GFTValueError(
            f"{name}: expected a first line with the names of the columns, got an empty file; write the rows into it "
            "again"
        )
    if repeated := [column for column, count in Counter(header).items() if count > 1]:
        raise GFTValueError(
            f"{name}: expected a name for each column, got {', '.join(map(repr, repeated))} more than once in the "
            "header; rename one"
        )
    if "" in header:
        raise GFTValueError(
            f"{name}: expected a name for each column, got none for column {header.index('') + 1} in the header; name "
            "it, or remove it (pandas leaves it out with `index=False`)"
        )


@contextmanager
def _cells_of_any_length() -> Iterator[None]:
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(limit)
