"""Tables of rows, which know their length and read rows on access."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import pyarrow
from pyarrow import parquet
from typing_extensions import override

from lightning_gft.data.columns import Row
from lightning_gft.data.json_rows import parse_json
from lightning_gft.errors import GFTValueError
from lightning_gft.stored import Padded


class Table(ABC):
    """Rows by position, and the names of their columns."""

    columns: Sequence[str]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, positions: Sequence[int]) -> list[Row]:
        """Return the rows at some positions, in ascending order."""


class ListTable(Table):
    """Rows in memory, which may have different keys."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows
        self.columns = list(dict.fromkeys(column for row in rows for column in row))

    @override
    def __len__(self) -> int:
        return len(self._rows)

    @override
    def take(self, positions: Sequence[int]) -> list[Row]:
        return [self._rows[position] for position in positions]


class ParquetTable(Table):
    """A Parquet file, of which only the requested row groups are read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb"):  # Python's own error says more clearly why a file cannot be opened
            pass
        with self._reading():
            self._metadata = parquet.read_metadata(path)
        self.columns = list(self._metadata.schema.to_arrow_schema().names)
        if len(set(self.columns)) < len(self.columns):
            raise GFTValueError(
                f"{path.name}: expected a name for each column, got {', '.join(map(repr, self.columns))}"
            )

    @override
    def __len__(self) -> int:
        return int(self._metadata.num_rows)

    @override
    def take(self, positions: Sequence[int]) -> list[Row]:
        lengths = (self._metadata.row_group(group).num_rows for group in range(self._metadata.num_row_groups))
        # Opened only here: a process may open only some hundred files, and data sets have more shards.
        with self._reading(), parquet.ParquetFile(self._path, metadata=self._metadata) as file:
            groups = [file.read_row_group(group).take(here) for group, here in by_part(positions, lengths)]
        return [row for group in groups for row in _python_rows(group)]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (pyarrow.ArrowException, OSError) as error:
            raise GFTValueError(
                f"{self._path.name}: expected a complete Parquet file, got one that cannot be read ({error}); write or "
                "download it again"
            ) from error


class DatasetTable(Table):
    """A data set of the ``datasets`` library."""

    def __init__(self, rows: datasets.Dataset) -> None:
        self._rows = rows
        self.columns = list(rows.column_names)

    @override
    def __len__(self) -> int:
        return len(self._rows)

    @override
    def take(self, positions: Sequence[int]) -> list[Row]:
        return _python_rows(self._rows.select(positions).with_format("arrow")[:])


class JoinedTable(Table):
    """Tables one after another, with the columns of all of them: a missing column is ``None`` in a row."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tables
        self.columns = list(dict.fromkeys(column for table in tables for column in table.columns))

    @override
    def __len__(self) -> int:
        return sum(map(len, self._tables))

    @override
    def take(self, positions: Sequence[int]) -> list[Row]:
        parts = by_part(positions, map(len, self._tables))
        rows = (row for part, here in parts for row in self._tables[part].take(here))
        known = set(self.columns)
        # A complete row is kept as it is, since it may hold more than its columns, such as its group.
        return [row if row.keys() == known else {column: row.get(column) for column in self.columns} for row in rows]


def by_part(positions: Sequence[int], lengths: Iterable[int]) -> Iterator[tuple[int, list[int]]]:
    """Yield each part that ascending positions fall into, with the positions within it.

    Example:
        >>> list(by_part([1, 2, 6], lengths=[2, 4, 3]))
        [(0, [1]), (1, [0]), (2, [0])]
    """
    start = 0
    for part, length in enumerate(lengths):
        here = positions[bisect_left(positions, start) : bisect_left(positions, start + length)]
        if here:
            yield part, [position - start for position in here]
        start += length


def _python_rows(table: pyarrow.Table) -> list[Row]:
    rows: list[Row] = table.to_pylist()
    for field in table.schema:
        if "arrow.json" in str(field.type) or "struct<" in str(field.type):
            for row in rows:
                row[field.name] = _with_objects(field.type, row[field.name])
    return rows


def _with_objects(kind: pyarrow.DataType, value: Any) -> Any:
    """Return a value with structs as ``Padded``, and JSON that the library stores as text as objects."""
    if value is None:
        return None
    if pyarrow.types.is_struct(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        return Padded({field.name: _with_objects(field.type, value[field.name]) for field in fields})
    if hasattr(kind, "value_type") and isinstance(value, list):
        return [_with_objects(kind.value_type, item) for item in value]
    return parse_json(value) if "arrow.json" in str(kind) and isinstance(value, str) else value
