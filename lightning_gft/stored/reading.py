"""Reading a folder of groups."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, overload

from lightning_gft.errors import GFTValueError
from lightning_gft.stored.schema import StoredGroup, StoredInfo
from lightning_gft.stored.tables import METADATA, SEAL, arrow_schema, from_table, seal

if TYPE_CHECKING:
    import pyarrow as pa


_REWRITE = "remove it and run the same prediction again, which writes it anew"


class _Place(NamedTuple):
    """Position of a group: its batch, its place in the batch, its shard, and its number in the shard."""

    step: int
    place: int
    shard: int
    number: int


def is_stored(folder: Path) -> bool:
    """Return whether a folder holds groups that this package has written, even if some are damaged."""
    files = _shards(folder) if folder.is_dir() else []
    named = [file for file in files if file.name.startswith("groups-")]
    return any(map(is_shard, named or files[:1]))


def folder_nearby(path: Path) -> Path | None:
    """Return the folder of groups that a similar path means: that of one of its shards, or of the run's folder."""
    if path.is_file():
        return path.parent if is_shard(path) else None
    return path / "groups" if is_stored(path / "groups") else None


def is_shard(file: Path) -> bool:
    """Return whether a file is a readable shard of groups."""
    try:
        return METADATA in _metadata(file)
    except (GFTValueError, OSError):  # a damaged file of another kind; its own reader reports it
        return False


class DamagedShardError(GFTValueError):
    """A shard that cannot be read, or does not have the contents of its name."""


class StoredGroups(Sequence[StoredGroup]):
    """The groups of a folder, in the order of the data; shards are read when their groups are accessed.

    Args:
        folder: Folder that ``lightning-gft predict`` has written.

    Attributes:
        info: Settings of the run that wrote the shards.
        shards: The files, in the order of their names.

    Raises:
        ValueError: If it holds no groups, shards of different runs, a group twice, or a damaged shard.
    """

    def __init__(self, folder: Path) -> None:
        self.shards = _shards(folder)
        if not is_stored(folder):
            found = "another" if folder.is_dir() else "a file" if folder.exists() else "one that does not exist"
            near = folder_nearby(folder)
            advice = f"give {near}" if near else "correct the path, or write the groups first"
            raise GFTValueError(
                f"{folder}: expected a folder that `lightning-gft predict` has written, got {found}; {advice}"
            )
        infos = [read_info(shard) for shard in self.shards]
        self.info = infos[0]
        for shard, info in zip(self.shards, infos, strict=True):
            if differing := self.info.differing(info):
                raise GFTValueError(
                    f"{shard.name}: expected the settings of {self.shards[0].name}, got others ({'; '.join(differing)})"
                    "; keep the groups of each run in a folder of their own"
                )
        self._places = sorted(place for number, shard in enumerate(self.shards) for place in _places(number, shard))
        for one, other in pairwise(self._places):
            if (one.step, one.place) == (other.step, other.place):
                raise GFTValueError(
                    f"{self.shards[other.shard].name}: expected groups that no other shard holds, got one (step "
                    f"{one.step}, place {one.place}) that is in {self.shards[one.shard].name} too; remove the copy"
                )

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
        """Return the groups of one shard, in its order."""
        return from_table(_read(shard), self.info)


def read_info(shard: Path) -> StoredInfo:
    """Return the settings of the run that wrote a shard.

    Raises:
        DamagedShardError: If it is damaged, or a file of another kind.
        ValueError: If a later version of the package has written it.
    """
    return _info(shard, _metadata(shard))


def _info(shard: Path, metadata: Mapping[bytes, bytes]) -> StoredInfo:
    if METADATA not in metadata:
        raise DamagedShardError(f"{shard.name}: expected a shard of groups, got another Parquet file; remove it")
    info = metadata[METADATA]
    if SEAL in metadata and metadata[SEAL].split()[-1:] != seal("", info).split():
        raise DamagedShardError(f"{shard.name}: expected metadata as they were written, got others; {_REWRITE}")
    try:
        return StoredInfo.from_json(info)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DamagedShardError(f"{shard.name}: expected metadata that can be read, got {error}; {_REWRITE}") from error


def find_fault(shard: Path) -> str | None:
    """Return the fault of a shard that keeps its name; ``None`` if it is exactly as it was written.

    Raises:
        ValueError: If a later version of the package has written it.
        OSError: If the system does not allow reading it.
    """
    if not shard.is_file():
        return f"{shard.name}: expected a file, got a folder"
    try:
        table = _read(shard)
        metadata = table.schema.metadata or {}
        if not table.schema.equals(arrow_schema(_info(shard, metadata))):
            return f"{shard.name}: expected the columns of stored groups, got {', '.join(table.column_names)}"
    except DamagedShardError as error:
        return f"{error}"
    written = metadata.get(SEAL, b"").split(b" ")[0].decode(errors="replace")
    return f"{shard.name}: expected its own groups, got those of {written}" if written not in ("", shard.name) else None


def _shards(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith((".", "_")))


def _places(number: int, shard: Path) -> list[_Place]:
    columns = _read(shard, ["step", "place"]).to_pydict()
    groups = dict.fromkeys(zip(columns["step"], columns["place"], strict=True))
    return [_Place(*group, number, n) for n, group in enumerate(groups)]


def _metadata(shard: Path) -> dict[bytes, bytes]:
    from pyarrow import parquet  # rarely needed, while all callbacks are imported

    with _reading(shard):
        return dict(parquet.read_schema(shard).metadata or {})


def _read(shard: Path, columns: list[str] | None = None) -> pa.Table:
    from pyarrow import parquet

    with _reading(shard), parquet.ParquetFile(shard, page_checksum_verification=True) as file:
        return file.read(columns)


@contextmanager
def _reading(shard: Path) -> Iterator[None]:
    import pyarrow as pa

    with shard.open("rb"):  # Python's own error says more clearly why a file cannot be opened
        pass
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DamagedShardError(
            f"{shard.name}: expected a complete Parquet file, got one that cannot be read ({error}); {_REWRITE}"
        ) from error
