"""Rows selected by split and slice, with their positions in the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from typing_extensions import override

from lightning_gft.data.columns import NumberedRows, Row
from lightning_gft.data.tables import JoinedTable, Table, by_part

_CHUNK = 10_000
"""Rows that iteration reads at once: a Parquet file reads a whole row group each time."""
Spans = list[tuple[str, range]]
"""Splits, and positions within them."""


class Piece(Table):
    """Consecutive rows of a split."""

    def __init__(self, split: str, table: Table, positions: range) -> None:
        self.split, self.table, self.positions = split, table, positions
        self.columns = table.columns

    @override
    def __len__(self) -> int:
        return len(self.positions)

    @override
    def take(self, positions: Sequence[int]) -> list[Row]:
        return self.table.take([self.positions[position] for position in positions])


class Rows(Sequence[Row]):
    """Pieces of splits, one after another.

    Example:
        >>> from lightning_gft.data.tables import ListTable
        >>> rows = Rows([Piece("train", ListTable([{"n": n} for n in range(10)]), range(8, 10))])
        >>> list(rows), rows.take([1]).positions
        ([{'n': 8}, {'n': 9}], [9])
    """

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces = pieces
        self._joined = JoinedTable(pieces)

    def __len__(self) -> int:
        return len(self._joined)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> NumberedRows: ...
    def __getitem__(self, index: int | slice) -> Row | NumberedRows:
        if isinstance(index, slice):
            return self.take(range(len(self))[index])
        return self.take([range(len(self))[index]])[0]

    @override
    def __iter__(self) -> Iterator[Row]:
        for start in range(0, len(self), _CHUNK):
            yield from self[start : start + _CHUNK]

    def spans(self, count: int | None = None) -> Spans:
        """Return the spans of the first ``count`` rows, or of all."""
        left = len(self) if count is None else count
        spans = []
        for piece in self.pieces:
            spans.append((piece.split, piece.positions[:left]))
            left = max(0, left - len(piece))
        return spans

    def take(self, indices: Sequence[int]) -> NumberedRows:
        """Return rows by their ascending indices, with their positions in the data as loaded."""
        several = len({piece.split for piece in self.pieces}) > 1
        positions: list[int | str] = []
        for part, here in by_part(indices, map(len, self.pieces)):
            piece = self.pieces[part]
            numbers = [piece.positions[index] for index in here]
            positions += [f"{number} of {piece.split!r}" for number in numbers] if several else numbers
        return NumberedRows(self._joined.take(indices), positions)


def count_shared(spans: Spans, others: Spans) -> int:
    """Return the number of rows that two lists of spans of the same data have in common.

    Example:
        >>> count_shared([("train", range(5, 10))], [("train", range(7)), ("test", range(10))])
        2
    """
    return sum(
        len(range(max(here.start, there.start), min(here.stop, there.stop)))
        for split, here in spans
        for other, there in others
        if split == other
    )
