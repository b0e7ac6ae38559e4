"""A folder of groups while runs write to it: whose shards are there, and which of them are damaged."""

from __future__ import annotations

from pathlib import Path

from lightning_gft.stored.reading import DamagedShardError, find_fault, read_info
from lightning_gft.stored.schema import StoredInfo
from lightning_gft.stored.writing import set_aside, written_shards


class ShardSettings:
    """Looks in a folder for shards of a run with other settings; reads the metadata of each shard once.

    Args:
        folder: It need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: set[tuple[str, int, int]] = set()

    def find_other(self, info: StoredInfo) -> tuple[Path, list[str]] | None:
        """Return the first shard with other settings that has come since the last call, and what differs there.

        Damaged shards are passed over: the run that resumes replaces them.

        Args:
            info: Of the run that asks.

        Raises:
            ValueError: If a later version of the package has written a shard.
        """
        for shard in sorted(self.folder.glob("*.parquet")):
            try:
                facts = shard.stat()
                key = shard.name, facts.st_ino, facts.st_mtime_ns  # another once it is written over
                if key in self._known:
                    continue
                differing = read_info(shard).differing(info)
            except (DamagedShardError, FileNotFoundError, IsADirectoryError):
                continue
            if differing:
                return shard, differing
            self._known.add(key)
        return None


def set_aside_damaged(folder: Path, rank: int = 0) -> list[str]:
    """Give the damaged shards of a rank another name, and return what is wrong with each and where it is now.

    Args:
        folder: With shards.
        rank: Whose shards are looked at.
    """
    faults = []
    for _, shard in sorted(written_shards(folder, rank).items()):
        if fault := find_fault(shard):
            faults.append(f"{fault.partition('; remove it')[0]}; set aside as {set_aside(shard).name}")
    return faults
