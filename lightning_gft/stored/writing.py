"""Writing shards: each is whole whenever it is there."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from lightning_gft.stored.schema import StoredGroup, StoredInfo
from lightning_gft.stored.tables import to_table

_NAME = re.compile(r"groups-(\d{6,})-(\d{3,})\.parquet")


def shard_path(folder: Path, step: int, rank: int = 0) -> Path:
    """Return the path of the shard that a rank writes of a batch.

    Example:
        >>> shard_path(Path("groups"), step=12).name
        'groups-000012-000.parquet'
    """
    return folder / f"groups-{step:06d}-{rank:03d}.parquet"


def write_shard(
    folder: Path, groups: Sequence[StoredGroup], info: StoredInfo, step: int | None = None, rank: int = 0
) -> Path:
    """Write groups as one shard, under another name until it is whole, and return its path.

    Args:
        folder: Made if it does not exist.
        groups: At least one.
        info: What the shard says of its run; the same in all shards of a folder.
        step: Number that it gets; default that of its groups' batch.
        rank: Number of the rank that writes it.

    Raises:
        ValueError: If a response lacks a reward.
        TypeError: If the data holds a value that cannot be kept.
        OSError: If the disk does not take it; then nothing is left behind.
    """
    path = shard_path(folder, groups[0].step if step is None else step, rank)
    write_groups(path, groups, info)
    return path


def write_groups(path: Path, groups: Sequence[StoredGroup], info: StoredInfo) -> None:
    """Write groups as the shard of a path; see :func:`write_shard`.

    Args:
        path: Its folder is made if it does not exist.
        groups: At least one.
        info: See :func:`write_shard`.
    """
    from pyarrow import parquet  # seldom needed, where all callbacks are imported

    path.parent.mkdir(parents=True, exist_ok=True)
    table = to_table(groups, info)
    unfinished = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            parquet.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    _settle(path.parent)


def written_steps(folder: Path, rank: int = 0) -> set[int]:
    """Return the numbers of the batches of which a rank's shard is in a folder."""
    names = (_NAME.fullmatch(path.name) for path in folder.glob("groups-*.parquet"))
    return {int(name[1]) for name in names if name and int(name[2]) == rank}


def remove_unfinished(folder: Path, rank: int = 0) -> None:
    """Remove what a rank was writing when it was killed."""
    for path in unfinished_shards(folder):
        name = _NAME.match(path.name[1:])
        if name and int(name[2]) == rank:
            path.unlink(missing_ok=True)


def unfinished_shards(folder: Path) -> list[Path]:
    """Return the files of shards that were not finished."""
    return [path for path in folder.glob(".groups-*") if _NAME.match(path.name[1:])]


def _settle(folder: Path) -> None:
    """Put the names in a folder on the disk, where a system can."""
    if hasattr(os, "O_DIRECTORY"):
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
