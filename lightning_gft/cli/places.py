"""Checks the paths that a run writes to before it trains, so that no trained weights are lost."""

from __future__ import annotations

from collections.abc import Iterable

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from lightning_gft.callbacks import StageSchedule
from lightning_gft.cli.writable import check_writable


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
