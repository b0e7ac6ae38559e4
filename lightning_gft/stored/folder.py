"""A folder of groups that runs write to: its shards, and which of them are damaged."""

from __future__ import annotations

from pathlib import Path

from lightning_gft.stored.reading import DamagedShardError, find_fault, read_info
from lightning_gft.stored.schema import StoredInfo
from lightning_gft.stored.writing import set_aside, written_shards


class ShardSettings:
    """Finds shards of runs with other settings in a folder; reads the metadata of each shard once.

    Args:
        folder: Folder of groups, which need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: set[tuple[str, int, int]] = set()

    def find_other(self, info: StoredInfo) -> tuple[Path, list[str]] | None:
        """Return the first new shard with other settings since the last call, and the differences.

        Damaged shards are skipped: the run that resumes replaces them.

        Args:
            info: Settings of this run.

        Raises:
            ValueError: If a later version of the package has written a shard.
        """
        for shard in sorted(self.folder.glob("*.parquet")):
            try:
                facts = shard.stat()
                key = shard.name, facts.st_ino, facts.st_mtime_ns  # changes when the shard is replaced
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
    """Rename the damaged shards of a rank, and return the fault and the new name of each.

    Args:
        folder: Folder of shards.
        rank: Rank whose shards are checked.
    """
    faults = []
    for _, shard in sorted(written_shards(folder, rank).items()):
        if fault := find_fault(shard):
            faults.append(f"{fault.partition('; remove it')[0]}; set aside as {set_aside(shard).name}")
    return faults
