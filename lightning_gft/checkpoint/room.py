"""Names of files that are being written, and what to say where they cannot be."""

from __future__ import annotations

import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.distributed.checkpoint.api import CheckpointException


def unfinished_name(path: Path) -> Path:
    """Return a name beside a path that no other process has, for what is not finished yet.

    Args:
        path: That of the finished file or folder.

    Example:
        >>> unfinished_name(Path("kept/last.ckpt")).suffix
        '.part'
    """
    return path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.part")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within this context an error names the checkpoint that cannot be written, and the room that there is.

    Args:
        path: The path of the checkpoint.

    Raises:
        OSError: Instead of an error of the file system.
    """
    try:
        yield
    except (OSError, RuntimeError, CheckpointException) as error:
        cause = _of_file_system(error)
        if cause is None:
            raise
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        free = shutil.disk_usage(folder).free / 2**20
        raise OSError(
            f"checkpoint {path} cannot be written ({cause.strerror or cause}); {free:,.0f} MiB are free in {folder}. "
            "Earlier checkpoints are kept: make room, or give ModelCheckpoint another dirpath, and resume by "
            "ckpt_path=last"
        ) from error


def _of_file_system(error: BaseException) -> OSError | None:
    """Return the error of the file system that torch may have wrapped in one of its own."""
    if isinstance(error, CheckpointException):
        causes: list[BaseException | None] = [failure for failure, _ in error.failures.values()]
    else:
        causes = [error, error.__context__]
    return next((cause for cause in causes if isinstance(cause, OSError)), None)
