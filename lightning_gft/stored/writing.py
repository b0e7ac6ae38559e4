"""Writing shards: each is whole whenever it is there."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_gft.stored.schema import StoredGroup, StoredInfo
from lightning_gft.stored.tables import to_table

if TYPE_CHECKING:
    import pyarrow as pa

_NAME = re.compile(r"groups-(\d{6,})-(\d{3,})\.parquet")
_NAMED = re.compile(r"groups-\d{6,}-\d{3,}\.(parquet|damaged-)")
"""Begin of the name of a shard, of an unfinished one or of one that was set aside."""
_ABANDONED = 3600.0
"""Seconds after which a file that another machine was writing is taken for one that it left behind."""


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
    write_table(path, to_table(groups, info, path.name))


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table as the Parquet file of a path, under another name until it is whole and on the disk.

    Args:
        path: Its folder is made if it does not exist.
        table: All of the file.

    Raises:
        OSError: If the disk does not take it; then nothing is left behind.
    """
    from pyarrow import parquet  # seldom needed, where all callbacks are imported

    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}-{socket.gethostname()}-{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            parquet.write_table(table, file, compression="zstd", write_page_checksum=True)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        reason = error.strerror or f"{error}"
        raise type(error)(
            error.errno, f"cannot write {path} ({reason}); make room or change the folder's rights, and run again"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
    _settle(path.parent)


def set_aside(path: Path) -> Path:
    """Give a damaged file another name beside its own, so that it is kept and can be written anew; return its path."""
    aside = next(free for n in count() if not (free := path.with_suffix(f".damaged-{n}")).exists())
    return path.rename(aside)


def written_shards(folder: Path, rank: int = 0) -> dict[int, Path]:
    """Return the paths of a rank's shards in a folder by the numbers of their batches."""
    names = ((_NAME.fullmatch(path.name), path) for path in folder.glob("groups-*.parquet"))
    return {int(name[1]): path for name, path in names if name and int(name[2]) == rank}


def remove_unfinished(folder: Path, rank: int | None = None) -> None:
    """Remove what a run was writing when it was killed, but not what another run is writing now.

    Args:
        folder: With shards.
        rank: Whose files are removed; ``None`` for those of all ranks.
    """
    for path in unfinished_shards(folder):
        name = _NAME.match(path.name[1:])
        if name and rank in (None, int(name[2])) and not _is_being_written(path):
            path.unlink(missing_ok=True)


def unfinished_shards(folder: Path) -> list[Path]:
    """Return the files of shards that were not finished."""
    return [path for path in folder.glob(".groups-*") if _NAME.match(path.name[1:])]


def is_named_as_shard(path: Path) -> bool:
    """Tell whether a name is that of a shard, of an unfinished one or of one that was set aside."""
    return _NAMED.match(path.name.removeprefix(".")) is not None


def _is_being_written(unfinished: Path) -> bool:
    host, _, process = unfinished.name.partition(".parquet-")[2].rpartition("-")
    if os.name != "posix" or host not in ("", socket.gethostname()):  # processes cannot be seen from here
        try:
            return time.time() - unfinished.stat().st_mtime < _ABANDONED
        except FileNotFoundError:
            return False
    return process.isdigit() and int(process) != os.getpid() and _is_alive(int(process))


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's
        return True
    return True


def _settle(folder: Path) -> None:
    """Put the names in a folder on the disk, where a system can."""
    if hasattr(os, "O_DIRECTORY"):
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
