"""The rows that were asked for, which know where they stand in the data."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import overload

from typing_extensions import override

from lightning_gft.data.columns import NumberedRows, Row
from lightning_gft.data.tables import JoinedTable, Table

_CHUNK = 10_000
"""Rows that iteration takes at once: a Parquet file reads a whole row group for each time."""


class Piece(Table):
    """Some consecutive rows of a split.

    Args:
        split: Name of the split.
        table: All of its rows.
        positions: Which of them.
    """

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
    """The rows that were asked for, which know where they stand in the data.

    Args:
        pieces: Where they are, one after another.
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

    def places(self, count: int | None = None) -> list[tuple[str, range]]:
        """Return splits and positions within them.

        Args:
            count: Of how many rows, from the first on; ``None`` for all.
        """
        left = len(self) if count is None else count
        places = []
        for piece in self.pieces:
            places.append((piece.split, piece.positions[:left]))
            left = max(0, left - len(piece))
        return places

    def take(self, indices: Sequence[int]) -> NumberedRows:
        """Return rows as Python objects, with their positions in the data as loaded.

        Args:
            indices: Which, in ascending order.
        """
        splits = {piece.split for piece in self.pieces}
        positions: list[int | str] = []
        start = 0
        for piece in self.pieces:
            here = indices[bisect_left(indices, start) : bisect_left(indices, start + len(piece))]
            numbers = [piece.positions[index - start] for index in here]
            positions += numbers if len(splits) == 1 else [f"{number} of {piece.split!r}" for number in numbers]
            start += len(piece)
        return NumberedRows(self._joined.take(indices), positions)


def count_shared(places: Sequence[tuple[str, range]], others: Sequence[tuple[str, range]]) -> int:
    """Return how many rows of some splits are among others.

    Args:
        places: Splits and positions within them.
        others: Those to look among, of the same data.

    Example:
        >>> count_shared([("train", range(5, 10))], [("train", range(7)), ("test", range(10))])
        2
    """
    return sum(
        len(range(max(here.start, there.start), min(here.stop, there.stop)))
        for split, here in places
        for other, there in others
        if split == other
    )
