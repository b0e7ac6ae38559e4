"""The callback."""

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
    """Shows groups of training and validation: what was asked, what was answered, and what each answer was worth.

    They are kept as Parquet in the folder ``samples`` beside the logs, a file a step, with what the loss did to each
    token (:func:`lightning_gft.samples.read_samples` reads them); a long run keeps fewer steps, evenly over all of it.
    Loggers get tables: W&B, MLflow, TensorBoard, trackio, and any that has W&B's ``log_table``. The command line keeps
    groups in every fit, without tables in loggers, unless the configuration has a callback of this class.

    Args:
        num_groups: Groups of a batch, and prompts of each data set of a validation: the first, of rank 0.
        responses: Responses of a group: a number, ``best_and_worst`` or ``all``. A validation's greedy response comes
            besides.
        keep: Most groups in the folder; 0 for none.
        log: Whether loggers get tables.
        show: Whether the terminal does.
        every_n_steps: Optimizer steps from one table of training to the next, for loggers and terminal; those of a
            validation always come.

    Raises:
        ValueError: If a number is out of range; when a run starts, if the trainer has two of these.
        TypeError: If one is no whole number.

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
        self.show, self.logs = show, log  # Lightning puts a function of its own into `log`
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
        # A subclass of the module may return something else from its own training step.
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
        """Tell whether groups of training are to be shown again: at the first step, and every so many steps."""
        due = self._shown_at is None or step // self.every_n_steps > self._shown_at // self.every_n_steps
        if due:
            self._shown_at = step
        return due

    def _take(
        self, kind: Kind, step: int, is_due: bool, trainer: Trainer, make: Callable[[], list[SampledGroup]]
    ) -> None:
        """Keep, show and log groups, which are made if one of that is wanted."""
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

        assert self._folder is not None  # noqa: S101 (asked before)
        with giving_up("GroupTable keeps no more groups", give_up):
            yield self._folder

    def _print(self, groups: list[SampledGroup]) -> None:
        try:
            print_groups(groups)
        except OSError:  # whatever read it has left: no reason to lose the run
            self.show = False
