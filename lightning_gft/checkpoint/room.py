"""Temporary names of files that are being written, and errors about disk space."""

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
    """Return a temporary name beside a path, unique to this process, for an unfinished file or folder.

    Args:
        path: Path of the finished file or folder.

    Example:
        >>> unfinished_name(Path("kept/last.ckpt")).suffix
        '.part'
    """
    return path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.part")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name the checkpoint and the free disk space in errors raised within this context.

    Args:
        path: Path of the checkpoint.

    Raises:
        OSError: In place of an error of the file system.
    """
    try:
        yield
    except (OSError, RuntimeError, CheckpointException) as error:
        cause = _file_system_error(error)
        if cause is None:
            raise
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        free = shutil.disk_usage(folder).free / 2**20
        raise OSError(
            f"cannot write checkpoint {path} ({cause.strerror or cause}); {free:,.0f} MiB are free in {folder}. "
            "Earlier checkpoints are kept: free some space, or give ModelCheckpoint another dirpath, and resume with "
            "ckpt_path=last"
        ) from error


def _file_system_error(error: BaseException) -> OSError | None:
    """Return the file system's error, which torch may have wrapped in one of its own."""
    if isinstance(error, CheckpointException):
        causes: list[BaseException | None] = [failure for failure, _ in error.failures.values()]
    else:
        causes = [error, error.__context__]
    return next((cause for cause in causes if isinstance(cause, OSError)), None)
