"""Reading a folder of groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, overload

from lightning_gft.errors import GFTValueError
from lightning_gft.stored.schema import StoredGroup, StoredInfo
from lightning_gft.stored.tables import METADATA, from_table

if TYPE_CHECKING:
    import pyarrow as pa


class _Place(NamedTuple):
    """Where a group stands: its batch, its place there, its shard, and its number in the shard."""

    step: int
    place: int
    shard: int
    number: int


def is_stored(folder: Path) -> bool:
    """Tell whether a folder holds groups that this package has written."""
    shard = next(iter(_shards(folder)), None) if folder.is_dir() else None
    if shard is None:
        return False
    try:
        return METADATA in _metadata(shard)
    except GFTValueError:  # a damaged file of someone else's, about which its reader complains
        return False


class StoredGroups(Sequence[StoredGroup]):
    """The groups of a folder, in the order of the data; shards are read when their groups are taken.

    Args:
        folder: As ``lightning-gft predict`` writes it.

    Attributes:
        info: What its shards say of the run that wrote them.
        shards: The files, in the order of their names.

    Raises:
        ValueError: If it holds no groups, shards of different runs, or one that is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.shards = _shards(folder)
        if not is_stored(folder):
            found = "another" if folder.is_dir() else "a file" if folder.exists() else "nothing there"
            raise GFTValueError(
                f"{folder}: expected a folder that `lightning-gft predict` has written, got {found}; correct the path, "
                "or write the groups first"
            )
        infos = [read_info(shard) for shard in self.shards]
        self.info = infos[0]
        for shard, info in zip(self.shards, infos, strict=True):
            if (info.tokenizer, info.rewards) != (self.info.tokenizer, self.info.rewards):
                raise GFTValueError(
                    f"{shard.name}: expected the tokenizer and the rewards of {self.shards[0].name}, got others; keep "
                    "the groups of each run in a folder of their own"
                )
        self._places = sorted(place for number, shard in enumerate(self.shards) for place in _places(number, shard))

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> StoredGroup: ...
    @overload
    def __getitem__(self, index: slice) -> list[StoredGroup]: ...
    def __getitem__(self, index: int | slice) -> StoredGroup | list[StoredGroup]:
        if isinstance(index, slice):
            return self.take(range(len(self))[index])
        return self.take([index])[0]

    def take(self, positions: Sequence[int]) -> list[StoredGroup]:
        """Return the groups at some positions."""
        places = [self._places[position] for position in positions]
        of_shard = {number: self.read(self.shards[number]) for number in sorted({place.shard for place in places})}
        return [of_shard[place.shard][place.number] for place in places]

    def read(self, shard: Path) -> list[StoredGroup]:
        """Return the groups of one shard, in the order in which they stand there."""
        return from_table(_read(shard), self.info)


def read_info(shard: Path) -> StoredInfo:
    """Return what a shard says of the run that wrote it.

    Raises:
        ValueError: If it is damaged, or a file of another kind.
    """
    metadata = _metadata(shard)
    if METADATA not in metadata:
        raise GFTValueError(f"{shard.name}: expected a shard of groups, got another Parquet file; take it out")
    return StoredInfo.from_json(metadata[METADATA])


def _shards(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith((".", "_")))


def _places(number: int, shard: Path) -> list[_Place]:
    columns = _read(shard, ["step", "place"]).to_pydict()
    groups = dict.fromkeys(zip(columns["step"], columns["place"], strict=True))
    return [_Place(*group, number, n) for n, group in enumerate(groups)]


def _metadata(shard: Path) -> dict[bytes, bytes]:
    from pyarrow import parquet  # seldom needed, where all callbacks are imported

    with _reading(shard):
        return dict(parquet.read_schema(shard).metadata or {})


def _read(shard: Path, columns: list[str] | None = None) -> pa.Table:
    from pyarrow import parquet

    with _reading(shard):
        return parquet.ParquetFile(shard).read(columns)


@contextmanager
def _reading(shard: Path) -> Iterator[None]:
    import pyarrow as pa

    with shard.open("rb"):  # which says more plainly why a file cannot be opened
        pass
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise GFTValueError(
            f"{shard.name}: expected a whole Parquet file, got one that cannot be read ({error}); remove it and "
            "run the same prediction again, which writes it anew"
        ) from error
