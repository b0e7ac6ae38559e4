"""Checks the paths that a run writes to before it trains, so that no trained weights are lost."""

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
"""Bytes of a trial file: a full disk still creates files as long as they are empty."""
_SHOWN = 200


@rank_zero_only
def check_places(loggers: Iterable[Logger | bool], callbacks: Iterable[Callback]) -> None:
    """Raise an error that names the setting and the reason if logs or checkpoints could not be written."""
    for logger in loggers:
        if isinstance(logger, bool):  # whether to have loggers, not one of them
            continue
        # For loggers that write files themselves, the first is the run's folder below the second.
        if place := getattr(logger, "log_dir", None) or logger.save_dir:
            check_writable(f"{type(logger).__name__}.save_dir", str(place))
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint | StageSchedule) and callback.dirpath:
            check_writable(f"{type(callback).__name__}.dirpath", str(callback.dirpath))


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
