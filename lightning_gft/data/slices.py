"""Splits and slices of them, as the ``datasets`` library writes them: ``train[:1000]``, ``train[80%:]+test``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import datasets

from lightning_gft.data.selection import Piece, Rows
from lightning_gft.data.tables import Table
from lightning_gft.errors import GFTValueError

_EXAMPLES = "a split, slices such as 'train[:1000]' or 'train[80%:]', or a sum of them such as 'train+test[:10%]'"


def choose_rows(splits: Mapping[str, Table], split: str | None, where: str, field: str) -> Rows:
    """Return the rows of a split, of slices, or of the only split.

    Args:
        splits: Tables by the names of splits; each is read when it is asked for.
        split: What to choose; ``None`` for the only split.
        where: Name of the data, as errors put it.
        field: What errors call ``split``.

    Raises:
        ValueError: If there is no such split, the slice cannot be read or there are no rows.

    Example:
        >>> from lightning_gft.data.tables import ListTable
        >>> rows = choose_rows({"train": ListTable([{"n": n} for n in range(10)])}, "train[80%:]", "path", "split")
        >>> list(rows), rows.take([1]).positions
        ([{'n': 8}, {'n': 9}], [9])
    """
    if split is None and len(splits) > 1:
        raise GFTValueError(f"{where}: expected one split, got {_listed(splits)}; choose one by `{field}`")
    name = next(iter(splits)) if split is None else split
    pieces = [Piece(name, splits[name], range(len(splits[name])))] if name in splits else None
    rows = Rows(pieces or _pieces(splits, name, where, field))
    if len(rows) == 0:
        sizes = ", ".join(f"{len(splits[piece.split])} in {piece.split!r}" for piece in rows.pieces)
        raise GFTValueError(
            f"{where}: expected rows, got none"
            + (f" in {field}={split!r} (rows: {sizes}); choose others" if split is not None else "; give other data")
        )
    return rows


def _pieces(splits: Mapping[str, Table], spec: str, where: str, field: str) -> list[Piece]:
    lengths = _Lengths(splits)
    try:
        instructions = datasets.ReadInstruction.from_spec(spec).to_absolute(lengths)
    except KeyError as error:
        missing = error.args[0]
        named = f"{field}={spec!r}" if missing == spec else f"{field}={spec!r}: {missing!r}"
        raise GFTValueError(f"{named} is not a split of {where}, which has {_listed(splits)}") from error
    except (ValueError, AssertionError) as error:
        if error is lengths.failure:  # of the file, and not of the slice
            raise
        raise GFTValueError(f"{field}={spec!r}: expected {_EXAMPLES}, of {_listed(splits)}; got {error}") from error
    return [
        Piece(part.splitname, splits[part.splitname], range(part.from_, max(part.from_, part.to)))
        for part in instructions
    ]


class _Lengths(Mapping[str, int]):
    """The number of rows of each split that is asked for: others are not read."""

    def __init__(self, splits: Mapping[str, Table]) -> None:
        self._splits = splits
        self.failure: ValueError | None = None

    def __getitem__(self, split: str) -> int:
        try:
            return len(self._splits[split])
        except ValueError as error:
            self.failure = error
            raise

    def __contains__(self, split: object) -> bool:
        return True  # so that a name that is none gets this package's error

    def __iter__(self) -> Iterator[str]:
        return iter(self._splits)

    def __len__(self) -> int:
        return len(self._splits)


def _listed(names: Mapping[str, Table]) -> str:
    return ", ".join(map(repr, names))
