"""The command line: ``lightning-gft fit | validate | test | predict``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import transformers
import yaml
from jsonargparse import get_loader, set_loader
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from typing_extensions import override

from lightning_gft.callbacks import GroupWriter
from lightning_gft.module import GFTLitModule

_load_yaml = get_loader("yaml")


def _load_value(text: str) -> Any:
    """Load YAML, but take a value such as ``####``, an answer marker, for what it is and not for a comment."""
    return text if text.startswith("#") and "\n" not in text else _load_yaml(text)


class GFTCLI(LightningCLI):
    """LightningCLI for :class:`~lightning_gft.GFTLitModule` and any datamodule.

    Logs go to CSV and TensorBoard below ``--trainer.default_root_dir`` unless the configuration names loggers, and what
    ``predict`` samples goes to ``groups.parquet`` there.

    Args:
        args: Command-line arguments; by default those of the process.
    """

    def __init__(self, args: list[str] | None = None) -> None:
        set_loader("yaml", _load_value, exceptions=(yaml.YAMLError,))
        _quieten()
        super().__init__(
            GFTLitModule,
            LightningDataModule,
            subclass_mode_data=True,
            auto_configure_optimizers=False,  # the module takes optimizer and scheduler as callables
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            args=args,
        )

    @override
    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = self.config[self.config["subcommand"]]["trainer"]
        _check_trainer(config)
        root = Path(config["default_root_dir"] or Path.cwd())
        if config["logger"] in (None, True):
            kwargs["logger"] = _default_loggers(root)
        trainer = super().instantiate_trainer(**kwargs)
        if self.config["subcommand"] == "predict":
            trainer.callbacks.append(GroupWriter(str(root / "groups.parquet")))  # type: ignore[attr-defined]
        return trainer


def _quieten() -> None:
    """Keep the terminal for what is about the run: no bars for reading files, no advice that nobody can follow."""
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*module.s. in eval mode.*")  # the frozen reference is meant to be
    warnings.filterwarnings("ignore", message="Total length of `list` across ranks is zero.*")  # no validation data


def _check_trainer(config: Mapping[str, Any]) -> None:
    """Point to the module's own settings where Lightning would only say that it cannot."""
    if config["gradient_clip_val"] is not None:
        raise ValueError("trainer.gradient_clip_val has no effect here; set model.gradient_clip_val")
    if config["accumulate_grad_batches"] != 1:
        raise ValueError(
            "trainer.accumulate_grad_batches has no effect here: data.batch_size prompts make an update, in "
            "micro-batches of model.micro_batch_tokens tokens"
        )


def _default_loggers(root: Path) -> list[Logger]:
    csv = CSVLogger(root)
    return [csv, TensorBoardLogger(root, version=csv.version)]


def main(args: list[str] | None = None) -> None:
    """Run the command line.

    Args:
        args: Command-line arguments; by default those of the process.
    """
    GFTCLI(args)
