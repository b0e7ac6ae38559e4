"""The callback."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from typing_extensions import override

from lightning_gft.callbacks.group_table.choosing import Choice, Responses
from lightning_gft.callbacks.group_table.files import SampleFolder
from lightning_gft.callbacks.group_table.rows import evaluated_groups, trained_groups
from lightning_gft.checks import check_count
from lightning_gft.errors import GFTValueError
from lightning_gft.module import GFTLitModule
from lightning_gft.samples import SampledGroup
from lightning_gft.samples.reading import FOLDER
from lightning_gft.types import PromptBatch


class GroupTable(Callback):
    """Keeps and shows some groups of training and validation.

    Args:
        num_groups: Groups of a batch, and prompts of each data set of a validation: the first, of rank 0.
        responses: Responses of a group: a number, ``best_and_worst`` or ``all``. A validation's greedy response comes
            besides.
        keep: Most groups in the folder ``samples`` beside the logs; 0 for none.

    Raises:
        ValueError: If a number is out of range; when a run starts, if the trainer has two of these.
        TypeError: If one is no whole number.

    Example:
        >>> GroupTable(keep=100).keep
        100
    """

    def __init__(self, num_groups: int = 2, responses: Responses = "best_and_worst", keep: int = 500) -> None:
        self.choice = Choice.of(num_groups, responses)
        self.keep = check_count("keep", keep, least=0, of="GroupTable")
        if 0 < self.keep < num_groups:
            raise GFTValueError(
                f"`keep` of GroupTable: expected 0, or at least num_groups={num_groups}, got {keep}; raise it"
            )
        self._folder: SampleFolder | None = None

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if sum(isinstance(callback, GroupTable) for callback in callbacks) > 1:
            raise GFTValueError("`trainer.callbacks`: expected one GroupTable, got two; leave one out")
        log_dir = trainer.log_dir  # asked of all ranks at once
        keeps = self.keep and trainer.loggers and log_dir is not None and trainer.is_global_zero
        self._folder = SampleFolder(Path(str(log_dir)) / FOLDER, self.keep) if keeps else None

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._folder is not None:
            self._folder.begin(trainer.global_step)

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: PromptBatch, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, GFTLitModule)  # noqa: S101 (this package's callbacks serve its module)
        step = trainer.global_step
        # A subclass may return something else from its own training step.
        if not isinstance(outputs, Mapping) or "groups" not in outputs:
            return
        if self._folder is None or not self._folder.wants("train", step):
            return
        groups = trained_groups(
            outputs["groups"],
            outputs.get("trained"),
            batch,
            self.choice,
            pl_module.tokenizer,
            pl_module.sampler.rewards,
            step,
        )
        self._write(groups)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GFTLitModule)  # noqa: S101 (this package's callbacks serve its module)
        if trainer.sanity_checking:
            return
        step = pl_module.run.steps()
        if self._folder is None or not self._folder.wants("val", step):
            return
        self._write(evaluated_groups(pl_module.evaluator.evaluated, self.choice, pl_module.sampler.rewards, step))

    def _write(self, groups: list[SampledGroup]) -> None:
        """Keep groups; a disk that does not take them is no reason to lose the run."""
        if self._folder is None or not groups:
            return
        try:
            self._folder.write(groups)
        except OSError as error:
            rank_zero_warn(f"GroupTable keeps no more groups: {error}")
            self._folder = None
