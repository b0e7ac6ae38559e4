"""Paths that a run writes to at its end: free, writable, and each claimed by a single run."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory


def check_target(path: Path) -> None:
    """Raise an error if a path holds something already, or could not be created.

    Raises:
        FileExistsError: If the path is a file or a folder with content.
        PermissionError: If the path could not be created.

    Example:
        >>> check_target(Path("/dev/null/policy"))
        Traceback (most recent call last):
        PermissionError: /dev/null/policy: expected a writable path, got /dev/null, which is no folder; choose another
    """
    if not is_free(path):
        raise FileExistsError(f"{path}: expected a new path or an empty folder, got existing files; choose another")
    check_writable_folder(path)


def check_writable_folder(path: Path) -> None:
    """Raise an error if files could not be written to a folder, whether it exists or has to be created.

    Raises:
        PermissionError: If files could not be written, with the reason.
    """
    existing = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    reason = "is no folder" if not existing.is_dir() else "" if os.access(existing, os.W_OK) else "cannot be written to"
    if reason:
        raise PermissionError(f"{path}: expected a writable path, got {existing}, which {reason}; choose another")
    try:
        with TemporaryDirectory(dir=existing, prefix=".unfinished-"):
            pass  # fails on a full disk, or in a folder such as those of /proc, which take no files
    except OSError as error:
        raise PermissionError(
            f"{path}: expected a writable path, got {existing}, where no file can be created ({error.strerror}); "
            "choose another"
        ) from error


def is_free(path: Path) -> bool:
    """Return whether a path is unused or an empty folder.

    Example:
        >>> is_free(Path("/dev"))
        False
    """
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def free_path(path: Path) -> Path:
    """Return a path, with a number if the original has been taken since the run began.

    Example:
        >>> free_path(Path("/dev/null")).name
        'null_1'
    """
    names = (path.with_stem(f"{path.stem}_{number}") if number else path for number in count())
    return next(path for path in names if is_free(path))


def move_to_free(made: Path, path: Path) -> Path:
    """Move a file or a folder to a path, and return the final path: it gets a number if another run has taken the path.

    Args:
        made: The file or folder to move; must be on the same disk.
    """
    while True:
        target = free_path(path)
        try:  # of two runs that want the same name, only one can create it
            if not made.is_dir() and _linked(made, target):
                return target
            target.mkdir(exist_ok=True) if made.is_dir() else target.touch(exist_ok=False)
            return made.replace(target)
        except OSError:
            if is_free(target):
                raise


def _linked(made: Path, target: Path) -> bool:
    """Name a file in one step, so that readers never see a part of it; false if the disk supports no hard links."""
    try:
        target.hardlink_to(made)
    except FileExistsError:
        raise
    except OSError:
        return False
    made.unlink()
    return True
