"""Writing shards, each of which is complete as soon as it has its name."""

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
"""Beginning of the name of a shard, of an unfinished one or of one that was set aside."""
_ABANDONED = 3600.0
"""Seconds after which an unfinished file of another machine is considered abandoned."""


def shard_path(folder: Path, step: int, rank: int = 0) -> Path:
    """Return the path of a rank's shard of a batch.

    Example:
        >>> shard_path(Path("groups"), step=12).name
        'groups-000012-000.parquet'
    """
    return folder / f"groups-{step:06d}-{rank:03d}.parquet"


def write_shard(
    folder: Path, groups: Sequence[StoredGroup], info: StoredInfo, step: int | None = None, rank: int = 0
) -> Path:
    """Write groups as one shard, under a temporary name until it is complete, and return its path.

    Args:
        folder: Folder to write to; created if it does not exist.
        groups: At least one group.
        info: Settings of the run, the same in all shards of a folder.
        step: Number of the shard; by default the number of its groups' batch.
        rank: Number of the rank that writes it.

    Raises:
        ValueError: If a response lacks a reward.
        TypeError: If the data hold a value that cannot be stored.
        OSError: If writing to the disk fails; no file is left behind.
    """
    path = shard_path(folder, groups[0].step if step is None else step, rank)
    write_groups(path, groups, info)
    return path


def write_groups(path: Path, groups: Sequence[StoredGroup], info: StoredInfo) -> None:
    """Write groups as the shard at a path; see :func:`write_shard`.

    Args:
        path: File to write; its folder is created if it does not exist.
        groups: At least one group.
        info: Settings of the run, the same in all shards of a folder.
    """
    write_table(path, to_table(groups, info, path.name))


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table as a Parquet file, under a temporary name until it is complete and on the disk.

    Args:
        path: File to write; its folder is created if it does not exist.
        table: Contents of the file.

    Raises:
        OSError: If writing to the disk fails; no file is left behind.
    """
    from pyarrow import parquet  # rarely needed, while all callbacks are imported

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
            error.errno,
            f"cannot write {path} ({reason}); free some space or change the folder's permissions, and run again",
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
    _flush_names(path.parent)


def set_aside(path: Path) -> Path:
    """Rename a damaged file so that it is kept and can be written again; return its new path."""
    aside = next(free for n in count() if not (free := path.with_suffix(f".damaged-{n}")).exists())
    return path.rename(aside)


def written_shards(folder: Path, rank: int = 0) -> dict[int, Path]:
    """Return the paths of a rank's shards in a folder, by the numbers of their batches."""
    names = ((_NAME.fullmatch(path.name), path) for path in folder.glob("groups-*.parquet"))
    return {int(name[1]): path for name, path in names if name and int(name[2]) == rank}


def remove_unfinished(folder: Path, rank: int | None = None) -> None:
    """Remove unfinished files of killed runs, but not those that another run is writing now.

    Args:
        folder: Folder of shards.
        rank: Rank whose files are removed; ``None`` for all ranks.
    """
    for path in unfinished_shards(folder):
        name = _NAME.match(path.name[1:])
        if name and rank in (None, int(name[2])) and not _is_being_written(path):
            path.unlink(missing_ok=True)


def unfinished_shards(folder: Path) -> list[Path]:
    """Return the files of unfinished shards."""
    return [path for path in folder.glob(".groups-*") if _NAME.match(path.name[1:])]


def is_named_as_shard(path: Path) -> bool:
    """Return whether a name is that of a shard, of an unfinished one or of one that was set aside."""
    return _NAMED.match(path.name.removeprefix(".")) is not None


def _is_being_written(unfinished: Path) -> bool:
    host, _, process = unfinished.name.partition(".parquet-")[2].rpartition("-")
    if os.name != "posix" or host not in ("", socket.gethostname()):  # its processes cannot be listed from here
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
    except (PermissionError, OverflowError):  # a process of another user
        return True
    return True


def _flush_names(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system supports it."""
    if hasattr(os, "O_DIRECTORY"):
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
