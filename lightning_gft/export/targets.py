"""Paths that a run writes to at its end: free, writable, and each taken by one run alone."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory


def check_target(path: Path) -> None:
    """Refuse a file or folder that holds something already, or that could not be made.

    Raises:
        FileExistsError: If there is something.
        PermissionError: If it cannot be made.

    Example:
        >>> check_target(Path("/dev/null/policy"))
        Traceback (most recent call last):
        PermissionError: cannot write to /dev/null/policy, because /dev/null is no folder; choose another path
    """
    if not is_free(path):
        raise FileExistsError(f"{path} is there already; choose another path, or move it away")
    check_writable_folder(path)


def check_writable_folder(path: Path) -> None:
    """Refuse a folder that files cannot be written to, be it there or to be made.

    Raises:
        PermissionError: With the reason.
    """
    existing = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    reason = "is no folder" if not existing.is_dir() else "" if os.access(existing, os.W_OK) else "cannot be written to"
    if reason:
        raise PermissionError(f"cannot write to {path}, because {existing} {reason}; choose another path")
    try:
        with TemporaryDirectory(dir=existing, prefix=".unfinished-"):
            pass  # a full disk, say, or a folder that only seems to be one, as those in /proc
    except OSError as error:
        raise PermissionError(
            f"cannot write to {path}, because nothing can be made in {existing} ({error.strerror}); choose another path"
        ) from error


def is_free(path: Path) -> bool:
    """Tell whether nothing is there, or an empty folder.

    Example:
        >>> is_free(Path("/dev"))
        False
    """
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def free_path(path: Path) -> Path:
    """Return a path, or one with a number where something has come to be there since the run began.

    Example:
        >>> free_path(Path("/dev/null")).name
        'null_1'
    """
    names = (path.with_stem(f"{path.stem}_{number}") if number else path for number in count())
    return next(path for path in names if is_free(path))


def move_to_free(made: Path, path: Path) -> Path:
    """Move a file or a folder to a path, or to one with a number where another run has been faster; return which.

    Args:
        made: What was made, on the same disk.
    """
    while True:
        target = free_path(path)
        try:  # of two that want the same name only one can make it
            if not made.is_dir() and _linked(made, target):
                return target
            target.mkdir(exist_ok=True) if made.is_dir() else target.touch(exist_ok=False)
            return made.replace(target)
        except OSError:
            if is_free(target):
                raise


def _linked(made: Path, target: Path) -> bool:
    """Give a file its name at once, so that it is whole whenever it is there; false where a disk knows no links."""
    try:
        target.hardlink_to(made)
    except FileExistsError:
        raise
    except OSError:
        return False
    made.unlink()
    return True
