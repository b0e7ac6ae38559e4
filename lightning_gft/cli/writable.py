"""Tries whether a folder can be written to."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryFile

from lightning_gft.checks import cut
from lightning_gft.errors import GFTValueError

_TRIED = 2**16
"""Bytes of a trial file: a full disk still creates files as long as they are empty."""
_SHOWN = 200


def check_writable(setting: str, folder: str) -> None:
    """Raise an error if a local folder, existing or new, could not be written to.

    Example:
        >>> check_writable("dirpath", "/dev/null/run")
        Traceback (most recent call last):
        lightning_gft.errors.GFTValueError: `dirpath`: expected a folder that can be written to, got /dev/null/run ...
    """
    if "://" in folder:  # on another machine
        return
    path = Path(folder).absolute()
    try:
        existing = next(place for place in (path, *path.parents) if place.exists() or place.is_symlink())
        with TemporaryFile(dir=existing) as tried:
            tried.write(bytes(_TRIED))
    except OSError as error:
        raise GFTValueError(
            f"`{setting}`: expected a folder that can be written to, got {cut(folder, _SHOWN)} ({error.strerror}); "
            "choose another"
        ) from error
