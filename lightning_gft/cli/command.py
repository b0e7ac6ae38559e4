"""LightningCLI for the package's module."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import yaml
from jsonargparse import set_loader
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import CheckpointIO
from lightning.pytorch.utilities import rank_zero_info
from typing_extensions import override

from lightning_gft.callbacks import GroupWriter
from lightning_gft.checkpoint import AtomicCheckpointIO
from lightning_gft.cli.arguments import check_files
from lightning_gft.cli.bar import ShortProgressBar
from lightning_gft.cli.checkpoints import find_checkpoint
from lightning_gft.cli.checks import check_callbacks, check_keeping, check_port, check_trainer, naming_options
from lightning_gft.cli.components import Components
from lightning_gft.cli.defaults import default_callbacks
from lightning_gft.cli.documents import reading_once
from lightning_gft.cli.leaving import lasting_output
from lightning_gft.cli.light import PROG
from lightning_gft.cli.outputs import KeepConfig, default_loggers, missing_folders, quieten, remove_unused
from lightning_gft.cli.parsing import Parser, load_value
from lightning_gft.cli.places import check_places
from lightning_gft.cli.progress import ProgressLines
from lightning_gft.cli.reporting import usage_errors
from lightning_gft.cli.stop_callbacks import KeepAtStop, StopBetweenSteps
from lightning_gft.cli.stopping import StopRequest
from lightning_gft.cli.summary import print_figures, print_kept, print_measured
from lightning_gft.cli.trainer import GFTTrainer
from lightning_gft.cli.writable import check_writable
from lightning_gft.errors import GFTValueError, completing_errors
from lightning_gft.module import GFTLitModule

_WITHOUT_WEIGHTS = ("inspect", "rescore")
_WITHOUT_A_RUN = ("export", *_WITHOUT_WEIGHTS)
_ON_ANY_MACHINE = {"accelerator": "cpu", "devices": 1, "num_nodes": 1, "strategy": "auto", "precision": "32-true"}
"""Settings that let a configuration written for a cluster work on any machine."""


class GFTCLI(LightningCLI):
    """LightningCLI for :class:`~lightning_gft.GFTLitModule` and any datamodule.

    Unless the configuration names loggers, logs are written as CSV and for TensorBoard below
    ``--trainer.default_root_dir``. ``predict`` writes its groups to the folder ``groups`` there.

    Args:
        args: Command-line arguments, without the program's name; by default those of the process.

    Raises:
        GFTError: If a setting, a configuration file or a checkpoint is invalid.
    """

    def __init__(self, args: list[str] | None = None) -> None:
        set_loader("yaml", load_value, exceptions=(yaml.YAMLError,))
        quieten()
        given = sys.argv[1:] if args is None else args
        self._named = given[0] if given and given[0] in self.subcommands() else None
        self.stop_request = StopRequest()
        self._own_loggers: list[Logger] = []
        self._made: list[Path] = []
        try:
            with self.stop_request.listening(), reading_once():
                check_files(given)
                super().__init__(
                    GFTLitModule,
                    LightningDataModule,
                    subclass_mode_data=True,
                    auto_configure_optimizers=False,  # the module takes optimizer and scheduler as callables
                    seed_everything_default=0,
                    trainer_class=GFTTrainer,
                    save_config_callback=KeepConfig,
                    parser_class=Parser,
                    parser_kwargs={"prog": PROG},
                    args=args,
                )
        except BaseException:
            remove_unused(self._own_loggers, self._made)
            raise

    @staticmethod
    @override
    def subcommands() -> dict[str, set[str]]:
        # Left out: `verbose` and `return_predictions`, which the methods below set.
        skipped = LightningCLI.subcommands()
        skipped["validate"].add("verbose")
        skipped["test"].add("verbose")
        skipped["predict"].add("return_predictions")
        return {**skipped, **{name: {"model", "datamodule"} for name in _WITHOUT_A_RUN}}

    @override
    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        if self._named in (None, subcommand):
            return super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        return self.init_parser(**kwargs)  # not to be run: reading its signatures would double the time of a start

    @override
    def instantiate_classes(self) -> None:
        if self.config["subcommand"] not in _WITHOUT_WEIGHTS:
            with usage_errors(GFTValueError):
                check_trainer(self.config[self.config["subcommand"]]["trainer"])
        super().instantiate_classes()

    @override
    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = self.config[self.config["subcommand"]]["trainer"]
        root = str(config["default_root_dir"] or Path.cwd())
        check_writable("trainer.default_root_dir", root)
        if self.config["subcommand"] in _WITHOUT_A_RUN:
            kwargs["logger"] = False
        elif config["logger"] in (None, True) and not (config["fast_dev_run"] or config["barebones"]):
            self._made = missing_folders(Path(root))
            kwargs["logger"] = self._own_loggers = default_loggers(root)
        callbacks, plugins, loggers = (self._given(name) for name in ("callbacks", "plugins", "logger"))
        check_callbacks(callbacks)
        check_places(loggers, callbacks)
        check_keeping(config, callbacks)
        shows_progress = config["enable_progress_bar"] is not False and not config["barebones"]
        if shows_progress and not any(isinstance(callback, ProgressBar) for callback in callbacks):
            callbacks.append(ShortProgressBar() if sys.stdout.isatty() else ProgressLines())
        if self.config["subcommand"] == "predict" and not any(isinstance(c, GroupWriter) for c in callbacks):
            callbacks.append(writer := GroupWriter(str(Path(root) / "groups")))
            self._components.add_own(writer, "path", "trainer.default_root_dir")
        callbacks += default_callbacks(self.config["subcommand"], config, callbacks)
        callbacks.sort(key=lambda callback: isinstance(callback, GroupWriter))  # its last line goes below the bar
        callbacks = [StopBetweenSteps(self.stop_request), *callbacks, KeepAtStop()]
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins.append(AtomicCheckpointIO())
        if self.config["subcommand"] in _WITHOUT_WEIGHTS:
            kwargs |= _ON_ANY_MACHINE
        with naming_options("trainer", config.as_dict()):
            trainer = super().instantiate_trainer(callbacks=callbacks, plugins=plugins, **kwargs)
        check_port(trainer.world_size)
        return trainer

    @property
    def _components(self) -> Components:
        return cast("Parser", self.parser).components

    def _given(self, name: str) -> list[Any]:
        """Return the configured objects of a trainer setting that accepts one or several."""
        given = self._get(self.config_init, "trainer")[name]
        return [] if given is None else [*given] if isinstance(given, list) else [given]

    @override
    def _run_subcommand(self, subcommand: str) -> None:
        output = nullcontext() if subcommand in _WITHOUT_A_RUN else lasting_output()
        with output, completing_errors(self._components.name):
            super()._run_subcommand(subcommand)

    def after_fit(self) -> None:
        """Print the figures of the last validation and the location of the weights."""
        print_figures(self.trainer, "val")
        print_kept(self.trainer)

    def validate(self, **kwargs: Any) -> None:
        """Evaluate the policy on the validation data and print the figures."""
        self.trainer.validate(verbose=False, **kwargs)
        print_measured(kwargs["ckpt_path"])
        print_figures(self.trainer, "val")

    def test(self, **kwargs: Any) -> None:
        """Evaluate the policy on the test data and print the figures."""
        self.trainer.test(verbose=False, **kwargs)
        print_measured(kwargs["ckpt_path"])
        print_figures(self.trainer, "test")

    def predict(self, **kwargs: Any) -> None:
        """Sample groups and write them, except those on disk already; they are not kept in memory."""
        self.trainer.predict(return_predictions=False, **kwargs)
        if self.trainer.limit_predict_batches == 0:
            rank_zero_info("Sampled no groups: trainer.limit_predict_batches is 0")

    @override
    def _parse_ckpt_path(self) -> None:
        # Lightning's method would replace the given settings by those of the checkpoint.
        config = self.config[self.config["subcommand"]]
        if "weights_only" in config and config["weights_only"] is None:
            config["weights_only"] = True  # Lightning would unpickle checkpoints from elsewhere
        if config.get("ckpt_path") is not None:
            resumes = self.config["subcommand"] == "fit"
            with usage_errors(FileNotFoundError):
                config["ckpt_path"] = find_checkpoint(config["ckpt_path"], config["trainer"], resumes=resumes)
