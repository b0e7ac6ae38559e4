"""Lightning's trainer, with the further subcommands of the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from rich.console import Console
from rich.progress import Progress

from lightning_gft.callbacks import StageSchedule
from lightning_gft.checks import check_count, check_kind, check_number, with_value
from lightning_gft.cli.defaults import DefaultCallback
from lightning_gft.cli.inspecting import print_report
from lightning_gft.cli.rescoring import print_changes
from lightning_gft.cli.texts import short
from lightning_gft.data import PromptDataModule
from lightning_gft.errors import GFTValueError
from lightning_gft.export import check_target, check_writable_folder, export_policy
from lightning_gft.inspection import inspect_data
from lightning_gft.module import GFTLitModule
from lightning_gft.policy import Dtype
from lightning_gft.rescoring import rescore_folder
from lightning_gft.training import PartsLife


class GFTTrainer(Trainer):
    """Lightning's trainer, which also exports policies, inspects data and rescores stored groups.

    Args:
        default_callbacks: Whether a fit gets RunRecord, Advice, GroupTable and Watchdog with their default settings, or
            the names of those that it gets. A callback of the configuration replaces the default of its class.
    """

    def __init__(self, *args: Any, default_callbacks: bool | list[DefaultCallback] = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # the command line has already added the default callbacks

    def export(
        self,
        model: GFTLitModule,
        path: str,
        ckpt_path: str | None = None,
        torch_dtype: Dtype | None = None,
        merge: bool = False,
        datamodule: LightningDataModule | None = None,
    ) -> None:
        """Write a policy in Hugging Face's format.

        Args:
            model: The module with the policy.
            path: Folder to write to, new or empty.
            ckpt_path: Checkpoint to take the weights from; by default the policy is written as loaded, untrained.
            torch_dtype: Data type of the written weights; by default that of the trained weights.
            merge: Whether to merge adapters into their full-precision base weights and write a plain model, instead of
                the adapter alone.
            datamodule: Data to name in the model card.
        """
        _check_given("path", path)
        with _naming("path", path):
            check_target(Path(path))
        if merge:
            model.policy_loader.check_merge()
        if ckpt_path is None:
            model.configure_model()
            rank_zero_warn(
                "`ckpt_path`: expected a checkpoint, got none; the policy is exported as loaded, before any training"
            )
        else:
            model.run.load_weights(ckpt_path)
        written = export_policy(model, Path(path), torch_dtype=torch_dtype, merge=merge, data=datamodule)
        print(f"Policy written to {written}")

    def inspect(
        self, model: GFTLitModule, datamodule: LightningDataModule, show: int = 3, output: str | None = None
    ) -> None:
        """Report on the data before training, without loading weights; exit status 1 if they would stop the run.

        Args:
            model: The module to train.
            datamodule: The data to inspect.
            show: Number of prompts, and of demonstrations that are not right, to print.
            output: New .json file for the complete report.

        Raises:
            ValueError: If ``show`` is negative or ``output`` has another suffix.
            TypeError: If the datamodule is none of this package's.
        """
        check_count("show", show, least=0)
        check_kind("data", datamodule, PromptDataModule, "GroupDataModule(path='train.jsonl')")
        path = None if output is None else _check_json(output)
        plan_stages(self, model)
        model.trainer, self.datamodule = self, datamodule
        own_code = type(model) is not GFTLitModule
        report = inspect_data(cast(PromptDataModule, datamodule), model, show, self, own_code)
        print_report(report, show)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(report.to_dict(), ensure_ascii=False, indent=1, default=str), encoding="utf-8")
            print(f"Report: {path}")
        if report.problems:
            sys.exit(1)

    def rescore(
        self,
        model: GFTLitModule,
        groups: str,
        output: str,
        show: int = 3,
        tolerance: float = 1e-6,
        datamodule: LightningDataModule | None = None,
    ) -> None:
        """Score stored groups with the rewards of the configuration, without sampling or loading a policy.

        The same command resumes after an interruption.

        Args:
            model: The module whose sampler holds the rewards, their total and the advantage.
            groups: Folder of groups, as written by predict.
            output: New folder for the same groups with their new rewards and advantages.
            show: Number of responses with a changed total to print.
            tolerance: Largest difference of two scores that count as equal.
            datamodule: Ignored; accepted so that a configuration of a run works unchanged.

        Raises:
            ValueError: If a folder holds anything else, or the data of a group do not suit a reward.
        """
        check_count("show", show, least=0)
        check_number("tolerance", tolerance, least=0)
        for field, folder in (("groups", groups), ("output", output)):
            _check_given(field, folder)
        with _naming("output", output):
            check_writable_folder(Path(output))
        parts, life = model.sampler.scorers(), PartsLife()
        try:
            life.begin(parts, model.device)
            with Progress(console=Console(stderr=True), transient=True) as progress:
                task = progress.add_task("Scoring")

                def report(done: int, of: int) -> None:
                    progress.update(task, completed=done, total=of)

                changes = rescore_folder(model.sampler, Path(groups), Path(output), tolerance, report)
            print_changes(changes, show)
            for name, value in life.figures(parts).items():
                print(f"{name}: {short(float(value))}")
        finally:
            life.end()
        if changes.groups and not changes.scored:
            print(f"All groups in {output} were scored already: none was scored again")
        print(f"Groups: {output}")


def plan_stages(trainer: Trainer, model: GFTLitModule) -> None:
    """Let a stage schedule set up the run's stages, as it does at the start of a fit."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in callbacks:
        if isinstance(callback, StageSchedule):
            callback.setup(trainer, model, "fit")


def _check_json(output: str) -> Path:
    path = Path(output)
    if path.suffix != ".json":
        raise GFTValueError(f"`output`: expected a .json file, got {output!r}; rename it")
    with _naming("output", output):
        check_target(path)
    return path


def _check_given(setting: str, folder: str) -> None:
    if not folder.strip():
        raise GFTValueError(f"`{setting}`: expected a folder, got an empty text; give its path")


@contextmanager
def _naming(setting: str, path: str) -> Iterator[None]:
    """Context in which an error about a path begins with its setting."""
    try:
        yield
    except (FileExistsError, PermissionError) as error:
        reason = str(error).removeprefix(f"{Path(path)}: ")
        raise type(error)(f"{with_value(setting, path)}: {reason}") from error
