"""Finding out before a run starts whether what it makes can be written."""

from __future__ import annotations

import os
from pathlib import Path


def check_target(path: Path) -> None:
    """Refuse a file or folder that holds something already, or that could not be made.

    Args:
        path: What shall be written at the end of a run.

    Raises:
        FileExistsError: If there is something.
        PermissionError: If it cannot be made.

    Example:
        >>> check_target(Path("/dev/null/policy"))
        Traceback (most recent call last):
        PermissionError: cannot write to /dev/null/policy, because /dev/null is no folder; choose another path
    """
    if path.is_dir() and not any(path.iterdir()):
        existing = path
    elif path.exists():
        raise FileExistsError(
            f"{path} is there already; choose another path, or move away what an earlier run has made"
        )
    else:
        existing = next(parent for parent in path.absolute().parents if parent.exists())
    reason = "is no folder" if not existing.is_dir() else "" if os.access(existing, os.W_OK) else "cannot be written to"
    if reason:
        raise PermissionError(f"cannot write to {path}, because {existing} {reason}; choose another path")
