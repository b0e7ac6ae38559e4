"""The command line: ``lightning-gft fit | validate | test | predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import get_loader, set_loader
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from typing_extensions import override

from lightning_gft.module import GFTLitModule


_load_yaml = get_loader("yaml")


def _load_value(text: str) -> Any:
    """Load YAML, but take a value such as ``####``, an answer marker, for what it is and not for a comment."""
    return text if text.startswith("#") and "\n" not in text else _load_yaml(text)


set_loader("yaml", _load_value)


class GFTCLI(LightningCLI):
    """LightningCLI for :class:`~lightning_gft.GFTLitModule` and any datamodule.

    Logs go to CSV and TensorBoard under ``--trainer.default_root_dir`` unless the configuration names loggers.

    Args:
        args: Command-line arguments; by default those of the process.
    """

    def __init__(self, args: list[str] | None = None) -> None:
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
        if config["logger"] in (None, True):
            kwargs["logger"] = _default_loggers(config["default_root_dir"])
        return super().instantiate_trainer(**kwargs)


def _default_loggers(root: str | None) -> list[Logger]:
    root = root or str(Path.cwd())
    csv = CSVLogger(root)
    return [csv, TensorBoardLogger(root, version=csv.version)]


def main(args: list[str] | None = None) -> None:
    """Run the command line.

    Args:
        args: Command-line arguments; by default those of the process.
    """
    GFTCLI(args)
