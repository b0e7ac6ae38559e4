"""What is wrong with a file: said of the line where it is, which the libraries that read it do not tell."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from lightning_gft.data.errors import shorten


def check_files(files: Sequence[Path]) -> None:
    """Refuse files that would be read as something else than they say.

    Args:
        files: Files of one kind.

    Raises:
        ValueError: If a file is empty or not UTF-8 text, or a .csv file has no header to go by or ragged rows.
    """
    for file in files:
        if file.stat().st_size == 0:
            raise ValueError(f"{file.name} is empty: write the rows into it again")
        if file.suffix != ".parquet":
            _check_encoding(file)
    if files[0].suffix == ".csv":
        _check_tables(files)


def csv_header(file: Path) -> list[str]:
    """Return the names of a .csv file's columns; none if it has nothing but empty lines.

    Args:
        file: The file.
    """
    return next((row for _, row in _csv_rows(file)), [])


def json_rows(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a file that the ``datasets`` library could read, as they are written.

    Args:
        file: A .json file, of a list or of lines, or a .jsonl file.
    """
    text = file.read_text(encoding="utf-8-sig")
    try:
        rows = json.loads(text)
    except json.JSONDecodeError:  # a row a line
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    return rows if isinstance(rows, list) else [rows]


def find_fault(file: Path) -> str | None:
    """Return what makes a file unreadable, as far as can be told; ``None`` if nothing is found.

    Args:
        file: A file that the ``datasets`` library refused.
    """
    try:
        if file.suffix == ".jsonl":
            return _fault_of_lines(file)
        if file.suffix == ".json":
            return _fault_of_json(file)
        if file.suffix == ".parquet":
            for _ in parquet.ParquetFile(file).iter_batches():
                pass
    except json.JSONDecodeError as error:
        return f"line {error.lineno} of {file.name} is not JSON ({error.msg}): correct it"
    except (pyarrow.ArrowException, OSError):
        return f"{file.name} is broken, cut short or no parquet file at all: write or download it again"
    return None


def _check_encoding(file: Path) -> None:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                shown = shorten(line[max(0, error.start - 20) :], 40)
                raise ValueError(
                    f"line {number} of {file.name} is not UTF-8 text (at {shown}): save the file as UTF-8"
                ) from error


def _check_tables(files: Sequence[Path]) -> None:
    first = _checked_header(files[0])
    for file in files:
        header = _checked_header(file)
        if header != first:
            raise ValueError(
                f"{file.name} has the columns {_listed(header)}, but {files[0].name} has {_listed(first)}: give files "
                "with the same columns"
            )
        for line, row in _csv_rows(file):
            if len(row) != len(header):
                raise ValueError(
                    f"line {line} of {file.name} has {len(row)} cells, but the header names {len(header)} columns: "
                    f"{shorten(','.join(row))}. Put a cell that holds a comma, a line break or a quotation mark into "
                    "quotation marks"
                )


def _checked_header(file: Path) -> list[str]:
    header = csv_header(file)
    if not header:
        raise ValueError(f"{file.name} is empty: its first line must name the columns")
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        raise ValueError(f"the header of {file.name} has {_listed(repeated)} more than once: give each column its name")
    if "" in header:
        raise ValueError(
            f"column {header.index('') + 1} of {file.name} has no name in the header: name it, or take it out (pandas "
            "leaves it out with `index=False`)"
        )
    return header


def _csv_rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the line that it begins on."""
    with file.open(newline="", encoding="utf-8-sig") as lines:  # Excel begins a file with a mark
        reader = csv.reader(lines)
        line = 1
        while True:
            try:
                row = next(reader, None)
            except csv.Error:  # a cell beyond this reader's limits; the one that counts has others
                return
            if row is None:
                return
            if row:
                yield line, row
            line = reader.line_num + 1


def _fault_of_lines(file: Path) -> str | None:
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                return (
                    f"line {number} of {file.name} is not JSON ({error.msg}, character {error.pos}): {shorten(line)}. "
                    "Correct it, or take it out"
                )
            if not isinstance(row, dict):
                return f'line {number} of {file.name} must be like {{"prompt": "...", ...}}, not {shorten(row)}'
    return None


def _fault_of_json(file: Path) -> str | None:
    try:
        rows = json.loads(file.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # a row a line, for all that the file is called
            return _fault_of_lines(file)
        raise
    return None if rows else f"{file.name} has no rows"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
