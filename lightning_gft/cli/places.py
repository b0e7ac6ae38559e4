"""Places that a run writes to while it trains: tried before, as what was trained would be lost."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from lightning_gft.callbacks import StageSchedule
from lightning_gft.checks import cut
from lightning_gft.errors import GFTValueError

_TRIED = 2**16
"""Bytes that are written to see whether there is room: a full disk still makes files, as long as they are empty."""
_SHOWN = 200


@rank_zero_only
def check_places(loggers: Iterable[Logger | bool], callbacks: Iterable[Callback]) -> None:
    """Refuse places for logs and checkpoints that could not be written to, by the setting and the reason."""
    for logger in loggers:
        if isinstance(logger, bool):  # whether there are to be any
            continue
        # The first is the folder of this run below the second, of loggers that write to a folder by themselves.
        if place := getattr(logger, "log_dir", None) or logger.save_dir:
            check_writable(f"{type(logger).__name__}.save_dir", str(place))
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint | StageSchedule) and callback.dirpath:
            check_writable(f"{type(callback).__name__}.dirpath", str(callback.dirpath))


def check_writable(setting: str, folder: str) -> None:
    """Refuse a folder on this machine, there or to be made, that could not be written to.

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
