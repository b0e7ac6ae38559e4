"""What a run leaves behind and shows: logs, its configuration, a progress bar, a table."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import datasets
import transformers
import yaml
from jsonargparse import Namespace
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only
from rich.console import Console
from rich.progress import BarColumn
from rich.table import Table
from typing_extensions import override

from lightning_gft.checkpoint import setting_differences

_BAR_WIDTH = 8
_OF_A_CALL = ("ckpt_path", "weights_only")
_CONFIG_KEY = "lightning_gft_config"
_COMPARED = ("seed_everything", "model", "data")  # how long and where to train may well change


def quieten() -> None:
    """Keep the terminal for what is about the run: no bars for reading files, no advice that nobody can follow."""
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*module.s. in eval mode.*")  # the frozen reference is meant to be
    warnings.filterwarnings("ignore", message="Total length of `list` across ranks is zero.*")  # no validation data
    # The module's own loop has taken its step by then, so the checkpoint is as good as any.
    warnings.filterwarnings("ignore", message="Using ModelCheckpoint with manual optimization.*")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(lambda record: "Tip:" not in record.msg)


def default_loggers(root: Path) -> list[Logger]:
    """Return loggers that write to a folder of their own below ``root``.

    Args:
        root: The trainer's ``default_root_dir``.
    """
    csv = CSVLogger(root)
    if rank_zero_only.rank == 0:  # type: ignore[attr-defined]  # the other processes write nothing
        csv = CSVLogger(root, version=_claim_version(root / "lightning_logs", first=csv.version))
    return [csv, TensorBoardLogger(root, version=csv.version)]


def _claim_version(folder: Path, first: int | str) -> int:
    """Make the first folder that is free; of two runs that start at once only one can."""
    for number in count(int(first)):
        try:
            (folder / f"version_{number}").mkdir(parents=True)
        except FileExistsError:
            continue
        return number
    raise AssertionError  # numbers do not end


class KeepConfig(SaveConfigCallback):
    """Keeps the run's configuration beside its logs, never in the place of a file that is there.

    What belongs to a single call, the checkpoint that it goes on from, is not part of it: every subcommand can read it.
    """

    def __init__(self, parser: LightningArgumentParser, config: Namespace, **kwargs: Any) -> None:
        settings = config.clone()
        for name in _OF_A_CALL:
            settings.pop(name, None)
        super().__init__(parser, settings, **kwargs)

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not trainer.loggers or self.already_saved:
            return
        folder = Path(str(trainer.log_dir))
        names = (f"config{f'_{number}' if number else ''}.yaml" for number in count())
        self.config_filename = next(name for name in names if not (folder / name).exists())
        super().setup(trainer, pl_module, stage)

    @override
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[_CONFIG_KEY] = self._settings()

    @override
    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Say which settings are not those that the checkpoint was written with; what is given now wins."""
        own = self._settings()
        for difference in setting_differences(checkpoint.get(_CONFIG_KEY, own), own):
            rank_zero_info(f"Going on with {difference}")

    def _settings(self) -> dict[str, Any]:
        settings = yaml.safe_load(self.parser.dump(self.config, skip_unset=False))
        return {name: settings[name] for name in _COMPARED}


class ShortProgressBar(RichProgressBar):
    """Lightning's, made to fit into 80 columns."""

    @override
    def configure_columns(self, trainer: Trainer) -> list[Any]:
        columns = super().configure_columns(trainer)
        for column in columns:
            if isinstance(column, BarColumn):
                column.bar_width = _BAR_WIDTH
        return columns

    @override
    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        return {name: _short(value) for name, value in metrics.items() if name != "v_num"}

    @override
    def _get_train_description(self, current_epoch: int) -> str:
        return f"Epoch {current_epoch}"


def print_figures(trainer: Trainer, metrics: Mapping[str, Any], stage: str) -> None:
    """Print what a validation or a test has measured: a row a figure, a column a data set.

    Args:
        trainer: Says which process prints.
        metrics: As logged, ``<stage>/<figure>`` and ``<stage>/<data set>/<figure>``.
        stage: ``val`` or ``test``.
    """
    figures: dict[str, dict[str, str]] = {}
    for key, value in metrics.items():
        kind, *rest = key.split("/")
        if kind == stage:
            *dataset, figure = rest
            figures.setdefault(figure, {})["/".join(dataset)] = _short(float(value))
    if not (figures and trainer.is_global_zero):
        return
    names = list(dict.fromkeys(name for row in figures.values() for name in row))
    table = Table(stage, *(name or "main" for name in names))
    for figure, row in figures.items():
        table.add_row(figure, *(row.get(name, "-") for name in names))
    Console(file=sys.stdout).print(table)
    if trainer.log_dir is not None and trainer.loggers:
        Console(file=sys.stdout, soft_wrap=True).print(f"Logs: {trainer.log_dir}", highlight=False)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
