"""Decides whether a text names a folder on this machine or something on the Hugging Face hub."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

from lightning_gft.checks import closest_name
from lightning_gft.errors import GFTValueError

_LISTED = 5  # names to list
_COMPARED = 10_000  # names to compare with; a folder may have millions


def expand_home(path: str) -> str:
    """Return a path with a leading ``~`` replaced by the home folder; a shell does not do that in ``--path=~/x``.

    Example:
        >>> expand_home("Qwen/Qwen2.5-0.5B")
        'Qwen/Qwen2.5-0.5B'
    """
    return os.path.expanduser(path)  # noqa: PTH111  # `Path.expanduser` raises for a user that does not exist


def check_local(path: str, where: str) -> None:
    """Raise an error for an empty path, and for a folder that is missing if the path cannot be a name on the hub.

    Args:
        path: Folder or hub name.
        where: Setting and value, for the error.

    Raises:
        ValueError: If the path is empty, or there is no such folder and the path begins with ``.``, ``/`` or ``~``, or
            has several slashes.

    Example:
        >>> check_local("/proc/slef", "`model_name_or_path` ('/proc/slef')")
        Traceback (most recent call last):
        lightning_gft.errors.GFTValueError: `model_name_or_path` ('/proc/slef'): expected a folder that exists, or ...
    """
    if not path.strip():
        raise GFTValueError(f"{where}: expected a folder or a hub name, got an empty text; give one")
    can_be_on_hub = not path.startswith((".", "/", "~")) and path.rstrip("/").count("/") <= 1
    if not can_be_on_hub and not os.path.exists(path):  # noqa: PTH110  # false for a name that is too long
        raise no_such_folder(path, where)


def may_be_folder(path: str) -> bool:
    """Return whether a name that the hub does not have is probably a misspelt folder.

    That is one within a folder that exists, or one whose name is close to that of a folder here.

    Example:
        >>> may_be_folder("Qwen/Qwen2.5-0.5B"), may_be_folder("gpt2")
        (False, False)
    """
    if "/" in path:
        return _is_folder(Path(path).parent)
    return closest_name(path, _names(Path(), files=False)) is not None


def no_such_folder(path: str, where: str, on_hub: str = "") -> GFTValueError:
    """Return the error for a folder that does not exist.

    Args:
        path: Path of the folder.
        where: Setting and value.
        on_hub: Why the hub or its cache has nothing of that name, if it was asked.
    """
    neither = f", nor that name on the hub ({on_hub})" if on_hub else ""
    return GFTValueError(
        f"{where}: expected a folder that exists, or a hub name; there is no such folder{neither}{near(path)}"
    )


def near(path: str, files: bool = False) -> str:
    """Return the end of an error about a path that does not exist: the closest one, or those that exist beside it.

    Args:
        path: Path of the missing folder or file.
        files: Whether it may be a file.

    Example:
        >>> near("/proc/slef")
        '; did you mean /proc/self?'
    """
    missing = Path(path)
    while not _is_folder(missing.parent):
        missing = missing.parent
    found = _names(missing.parent, files)
    if closest := closest_name(missing.name, found):
        repaired = missing.parent / closest
        whole = repaired / Path(path).relative_to(missing)
        return f"; did you mean {whole if os.path.exists(whole) else repaired}?"  # noqa: PTH110
    visible = [name for name in found if not name.startswith(".")]
    listed = ", ".join(visible[:_LISTED]) + (", ..." if len(visible) > _LISTED else "")
    return f"; {missing.parent} has {listed}" if listed else ""


def _names(folder: Path, files: bool) -> list[str]:
    """Return the names of the folders, and of files too if asked, in a folder; none if it may not be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in islice(entries, _COMPARED) if files or entry.is_dir())
    except OSError:
        return []


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112  # false for a name that is too long
