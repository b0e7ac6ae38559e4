"""The files of a run: its logs and its configuration."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import datasets
import transformers
import yaml
from jsonargparse import Namespace
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only
from typing_extensions import override

from lightning_gft.checkpoint import setting_differences

_OF_A_CALL = ("ckpt_path", "weights_only")
_CONFIG_KEY = "lightning_gft_config"
_COMPARED = ("seed_everything", "model", "data")  # the length of training and its devices may well change


def quieten() -> None:
    """Silence progress bars for reading files, and warnings that do not apply to this command line."""
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*module.s. in eval mode.*")  # the frozen reference is in it on purpose
    warnings.filterwarnings("ignore", message="Total length of `list` across ranks is zero.*")  # no validation data
    warnings.filterwarnings("ignore", message="predict returned None if.*")  # for batches that are already on disk
    # The module's own loop has completed its step by then, so such a checkpoint is valid.
    warnings.filterwarnings("ignore", message="Using ModelCheckpoint with manual optimization.*")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_tip)


def _is_no_tip(record: logging.LogRecord) -> bool:
    return "Tip:" not in record.getMessage()


def default_loggers(root: str) -> list[Logger]:
    """Return loggers that write to a new folder below ``root``."""
    csv = CSVLogger(root)
    if "://" in root:  # on another machine, where no folder can be claimed
        return [csv, TensorBoardLogger(root, version=csv.version)]
    if rank_zero_only.rank == 0:  # type: ignore[attr-defined]  # the other ranks write nothing
        csv = CSVLogger(root, version=_claim_version(Path(root) / "lightning_logs", first=csv.version))
    return [csv, TensorBoardLogger(root, version=csv.version)]


def _claim_version(folder: Path, first: int | str) -> int:
    """Create the first version folder that does not exist; of two runs that start together only one can."""
    folder.mkdir(parents=True, exist_ok=True)
    number = int(first)
    while True:
        try:
            (folder / f"version_{number}").mkdir()
        except FileExistsError:
            number += 1
        else:
            return number


def missing_folders(folder: Path) -> list[Path]:
    """Return a folder and its parents as far as they do not exist, the innermost first."""
    return [place for place in (folder, *folder.parents) if not place.exists()]


def remove_unused(loggers: Iterable[Logger], made: Iterable[Path]) -> None:
    """Remove the folders of :func:`default_loggers` if the run ended before it saved its configuration there.

    Args:
        loggers: The loggers.
        made: Folders around those that the run has made, the innermost first; removed if they are empty.
    """
    for folder in {Path(log_dir) for logger in loggers if (log_dir := getattr(logger, "log_dir", None))}:
        if folder.is_dir() and not any(folder.glob("config*.yaml")):
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # another run uses a parent folder
                for empty in (folder.parent, *made):
                    empty.rmdir()


class KeepConfig(SaveConfigCallback):
    """Saves the run's configuration beside its logs, without ever overwriting a file.

    The checkpoint to resume from is left out, as it belongs to a single call: every subcommand can read the file.
    """

    def __init__(self, parser: LightningArgumentParser, config: Namespace, **kwargs: Any) -> None:
        settings = config.clone()
        for name in _OF_A_CALL:
            settings.pop(name, None)
        super().__init__(parser, settings, **kwargs)

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save nothing yet: a later check may still reject the run."""

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._keep(trainer, pl_module)

    on_validation_start = on_test_start = on_predict_start = on_fit_start

    def _keep(self, trainer: Trainer, pl_module: LightningModule) -> None:
        log_dir = trainer.log_dir  # a collective: all ranks read it together
        if not trainer.loggers or log_dir is None or self.already_saved:
            return
        folder = Path(log_dir)
        names = (f"config{f'_{number}' if number else ''}.yaml" for number in count())
        self.config_filename = next(name for name in names if not (folder / name).exists())
        super().setup(trainer, pl_module, str(trainer.state.fn))

    @override
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[_CONFIG_KEY] = self._settings

    @override
    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Report the settings that differ from those of the checkpoint; the current ones apply."""
        own = self._settings
        for difference in setting_differences(checkpoint.get(_CONFIG_KEY, own), own):
            rank_zero_info(f"Resuming with {difference}")

    @cached_property
    def _settings(self) -> dict[str, Any]:
        settings = yaml.safe_load(self.parser.dump(self.config, skip_unset=False))
        return {name: settings[name] for name in _COMPARED}
