"""Whether the shards of a checkpoint are complete and unchanged."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lightning_gft.checks import with_value
from lightning_gft.errors import GFTValueError

NAMES, FILES, TIED = "parameter_names", "files", "tied"
"""Keys of ``meta.pt`` beside those of Lightning."""


def check_shards(path: Path, meta: Mapping[str, Any]) -> None:
    """Check that the shards of a folder are complete.

    Args:
        path: Folder of shards.
        meta: Contents of its ``meta.pt``.

    Raises:
        ValueError: If a shard is missing or was cut short.
    """
    if missing := {NAMES, TIED, FILES} - set(meta):
        raise GFTValueError(
            f"expected a folder that FSDP2Strategy wrote, got one without {', '.join(sorted(missing))}; use another "
            "checkpoint"
        )
    for name, (size, _) in meta[FILES].items():
        shard = path / name
        if not shard.is_file() or shard.stat().st_size != size:
            state = "was cut short" if shard.exists() else "is missing"
            raise GFTValueError(
                f"expected every shard, got {name}, which {state}; copy the checkpoint again, or use another"
            )


def check_sums(path: Path, files: Mapping[str, tuple[int, int]]) -> None:
    """Check the contents of shards by their checksums; each rank checks some of them.

    Args:
        path: Folder of shards.
        files: Sizes and checksums returned by :func:`sync_shards`.

    Raises:
        ValueError: If a shard is damaged.
    """
    rank, others = rank_and_size()
    for name in sorted(files)[rank::others]:
        if _checksum(path / name) != files[name][1]:
            raise GFTValueError(
                f"{with_value('ckpt_path', str(path))}: expected the shards that were written, got {name}, damaged; "
                "copy the checkpoint again, or use another"
            )


def sync_shards(folder: Path) -> dict[str, tuple[int, int]]:
    """Wait until the shards of all ranks are on disk, and return the size in bytes and checksum of each.

    Args:
        folder: Folder with the shards that this rank has written.
    """
    rank, others = rank_and_size()
    own = sorted(folder.glob(f"shard-{rank + 1:05d}-*"))  # DCP numbers them by rank
    for file in own:
        with file.open("rb") as content:
            os.fsync(content.fileno())
    noted: list[dict[str, tuple[int, int]]] = [{file.name: (file.stat().st_size, _checksum(file)) for file in own}]
    if others > 1:
        noted = noted * others
        torch.distributed.all_gather_object(noted, noted[rank])
    return {name: values for of_one in noted for name, values in of_one.items()}


def rank_and_size() -> tuple[int, int]:
    """Return this process's rank, and the number of ranks."""
    if not torch.distributed.is_initialized():
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def _checksum(file: Path) -> int:
    total = 0
    with file.open("rb") as content:
        while piece := content.read(1 << 24):
            total = zlib.crc32(piece, total)
    return total
