"""The callback that keeps, logs and prints groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from typing_extensions import override

from lightning_gft.callbacks.group_table.choosing import Choice, Responses
from lightning_gft.callbacks.group_table.files import SampleFolder
from lightning_gft.callbacks.group_table.loggers import log_groups
from lightning_gft.callbacks.group_table.rows import evaluated_groups, trained_groups
from lightning_gft.callbacks.group_table.terminal import print_groups
from lightning_gft.callbacks.run_record import record_folder
from lightning_gft.callbacks.writing import giving_up
from lightning_gft.checks import check_count, check_kind
from lightning_gft.errors import GFTValueError
from lightning_gft.module import GFTLitModule
from lightning_gft.record import SAMPLES
from lightning_gft.samples import Kind, SampledGroup
from lightning_gft.types import PromptBatch


class GroupTable(Callback):
    """Shows groups of training and validation: each prompt, its responses, and their rewards and advantages.

    Groups are kept as Parquet files in the folder ``samples`` beside the logs, one file for each step, with the
    figures of each token in the loss; :func:`lightning_gft.samples.read_samples` reads them. A long run keeps fewer
    steps, evenly spread over all of it. W&B, MLflow, TensorBoard, trackio and any logger with W&B's ``log_table`` get
    tables. On the command line every fit keeps groups, without tables in loggers, unless the configuration has a
    callback of this class.

    Args:
        num_groups: Number of groups of each batch, and of prompts of each validation data set, to show: the first
            ones of rank 0.
        responses: Number of responses of each group to show, or ``best_and_worst`` or ``all``. Validation shows the
            greedy response in addition.
        keep: Most groups to keep in the folder; 0 keeps none.
        log: Whether loggers get tables.
        show: Whether to print tables on the terminal.
        every_n_steps: Optimizer steps between two tables of training for loggers and terminal; every validation
            shows one.

    Raises:
        ValueError: If a number is out of range; when a run starts, if the trainer has two such callbacks.
        TypeError: If a number is no whole number.

    Example:
        >>> GroupTable(num_groups=1, responses="all", show=True).keep
        500
    """

    def __init__(
        self,
        num_groups: int = 2,
        responses: Responses = "best_and_worst",
        keep: int = 500,
        log: bool = True,
        show: bool = False,
        every_n_steps: int = 100,
    ) -> None:
        self.choice = Choice.of(num_groups, responses)
        self.keep = check_count("keep", keep, least=0, of="GroupTable", remedy="0 keeps none")
        if 0 < self.keep < num_groups:
            raise GFTValueError(
                f"`keep` of GroupTable: expected 0, or at least num_groups={num_groups}, got {keep}; raise it"
            )
        check_kind("show", show, bool, "True")
        check_kind("log", log, bool, "False")
        self.show, self.logs = show, log  # not `self.log`, where Lightning puts a function of its own
        remedy = "log=False and show=False make no tables"
        self.every_n_steps = check_count("every_n_steps", every_n_steps, of="GroupTable", remedy=remedy)
        self._folder: SampleFolder | None = None
        self._shown_at: int | None = None

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if sum(isinstance(callback, GroupTable) for callback in callbacks) > 1:
            raise GFTValueError("`trainer.callbacks`: expected one GroupTable, got two; leave one out")
        folder = record_folder(trainer) if stage in ("fit", "validate") and self.keep else None
        self._folder = None
        if folder is not None and trainer.is_global_zero:
            self._folder = SampleFolder(folder / SAMPLES, self.keep)
        self._shown_at = None

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._folder is not None:
            with self._keeping() as folder:
                if faults := folder.begin(trainer.global_step):
                    rank_zero_warn("\n".join(faults))

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: PromptBatch, batch_idx: int
    ) -> None:
        # A subclass of the module may return anything else from its own training step.
        if trainer.is_global_zero and isinstance(outputs, Mapping) and "groups" in outputs:
            assert isinstance(pl_module, GFTLitModule)  # noqa: S101 (this package's callbacks serve its module)
            step = trainer.global_step
            make = partial(trained_groups, batch=batch, choice=self.choice, tokenizer=pl_module.tokenizer, step=step)
            make = partial(make, rewards=pl_module.sampler.rewards, trained=outputs.get("trained"))
            self._take("train", step, self._is_due(step), trainer, lambda: make(outputs["groups"]))

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and not trainer.sanity_checking:
            assert isinstance(pl_module, GFTLitModule)  # noqa: S101 (this package's callbacks serve its module)
            step, rewards, evaluated = pl_module.run.steps(), pl_module.sampler.rewards, pl_module.evaluator.evaluated
            self._take("val", step, True, trainer, lambda: evaluated_groups(evaluated, self.choice, rewards, step))

    def _is_due(self, step: int) -> bool:
        """Return whether training is to show groups at this step: the first one, then every `every_n_steps`."""
        due = self._shown_at is None or step // self.every_n_steps > self._shown_at // self.every_n_steps
        if due:
            self._shown_at = step
        return due

    def _take(
        self, kind: Kind, step: int, is_due: bool, trainer: Trainer, make: Callable[[], list[SampledGroup]]
    ) -> None:
        """Keep, print and log groups; they are made only if at least one of these is due."""
        shows, logs = is_due and self.show, is_due and self.logs and bool(trainer.loggers)
        keeps = self._folder is not None and self._folder.wants(kind, step)
        if not (keeps or shows or logs) or not (groups := make()):
            return
        if keeps:
            with self._keeping() as folder:
                folder.write(groups)
        if shows:
            self._print(groups)
        if logs:
            log_groups(trainer.loggers, groups)

    @contextmanager
    def _keeping(self) -> Iterator[SampleFolder]:
        def give_up() -> None:
            self._folder = None

        assert self._folder is not None  # noqa: S101 (the caller has checked it)
        with giving_up("GroupTable keeps no more groups", give_up):
            yield self._folder

    def _print(self, groups: list[SampledGroup]) -> None:
        try:
            print_groups(groups)
        except OSError:  # the reader of the pipe is gone, which must not end the run
            self.show = False
