"""``python -m lightning_gft.checkpoint FOLDER FILE`` joins a folder of shards into one file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lightning_gft.checkpoint.files import AtomicCheckpointIO, check_checkpoint
from lightning_gft.checkpoint.sharded import is_sharded, read_shards
from lightning_gft.errors import GFTValueError


def main(args: list[str] | None = None) -> None:
    """Read a checkpoint that is a folder of shards, and write it as one file.

    Args:
        args: Command-line arguments; by default those of the process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m lightning_gft.checkpoint", description="Join the shards of a checkpoint into one file."
    )
    parser.add_argument("folder", type=Path, help="checkpoint folder that FSDP2Strategy has written")
    parser.add_argument("file", type=Path, help="file to write, which must not exist yet")
    given = parser.parse_args(args)
    try:
        check_checkpoint(given.folder)
        if not is_sharded(given.folder):
            raise GFTValueError(f"`folder`: expected a folder of shards, got {given.folder}, which is one file already")
        if given.file.exists():
            raise FileExistsError(
                f"`file`: expected a new file, got {given.file}, which exists; choose another name, or move it away"
            )
        AtomicCheckpointIO().save_checkpoint(read_shards(given.folder), given.file)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"Checkpoint: {given.file}")


if __name__ == "__main__":
    main()
