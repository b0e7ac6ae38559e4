"""A LightningModule that validation and test measure."""

from __future__ import annotations

from contextlib import ExitStack

from lightning.pytorch.trainer.states import TrainerFn
from typing_extensions import override

from lightning_gft.checkpoint import ResumableModule
from lightning_gft.checks import check_kind
from lightning_gft.evaluation import Evaluator, log_key
from lightning_gft.metrics import PolicyEvaluation
from lightning_gft.optimization.optimizer import OptimizerFn
from lightning_gft.policy import Policy
from lightning_gft.schedules import Schedule, SchedulerFn
from lightning_gft.seeds import combine_seeds
from lightning_gft.types import PromptBatch


def check_batch(batch: object, stage: str) -> None:
    """Refuse a batch of another kind, as from another datamodule.

    Args:
        batch: What the data loader gave.
        stage: What it was to be used for.

    Raises:
        TypeError: If it is no batch of prompts.
    """
    check_kind(f"a batch of {stage}", batch, PromptBatch, "those of this package's datamodules")


class EvaluatedModule(ResumableModule):
    """A LightningModule whose policy is measured on every data set of validation and test.

    Args:
        optimizer: Gets the trainable parameters.
        lr_scheduler: A schedule, or a function from an optimizer to one; stepped after every optimizer step.
    """

    policy: Policy
    evaluator: Evaluator
    micro_batch_tokens: int

    def __init__(self, optimizer: OptimizerFn, lr_scheduler: Schedule | SchedulerFn | None) -> None:
        super().__init__(optimizer, lr_scheduler)
        self.evaluations: dict[str, PolicyEvaluation] = {}
        self._gathered = ExitStack()

    @override
    def on_validation_epoch_start(self) -> None:
        self._gather(reference=self.evaluator.settings.kl)

    @override
    def validation_step(self, batch: PromptBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        check_batch(batch, "validation")
        self._evaluate(batch, batch_idx, dataloader_idx)

    @override
    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self._gathered.close()
        self._log_evaluations("val")

    @override
    def on_test_epoch_start(self) -> None:
        self._gather(reference=self.evaluator.settings.kl)

    @override
    def test_step(self, batch: PromptBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        check_batch(batch, "test")
        self._evaluate(batch, batch_idx, dataloader_idx)

    @override
    def on_test_epoch_end(self) -> None:
        self._gathered.close()
        self._log_evaluations("test")

    @override
    def on_predict_epoch_start(self) -> None:
        self._gather(reference=False)

    @override
    def on_predict_epoch_end(self) -> None:
        self._gathered.close()

    def leave_evaluation(self) -> None:
        """Leave a validation unfinished, so that the module can be saved as it trains."""
        self._gathered.close()
        self.evaluations.clear()

    def rank_of(self, batch: PromptBatch) -> int:
        """Return the part that this process has in a batch's random choices: none if each prompt knows its place.

        Args:
            batch: Prompts of this process.
        """
        return self.global_rank if batch.places is None else 0

    def _gather(self, reference: bool) -> None:
        """Keep weights whole until the end of a loop in which processes have different numbers of batches."""
        models = [self.policy.model, self.policy.reference_model if reference else None]
        self._gathered.enter_context(self.policy.sharding.whole(*(model for model in models if model is not None)))

    def _evaluate(self, batch: PromptBatch, batch_idx: int, dataloader_idx: int) -> None:
        if batch.dataset not in self.evaluations:
            self.evaluations[batch.dataset] = self.evaluator.metric().to(self.policy.device)
        seed = combine_seeds(self.evaluator.settings.seed, dataloader_idx, batch_idx, self.rank_of(batch))
        self.evaluator.evaluate(self.evaluations[batch.dataset], batch, self.policy, seed, self.micro_batch_tokens)

    def _log_evaluations(self, stage: str) -> None:
        row = {
            log_key(stage, name, dataset): value
            for dataset, metric in self.evaluations.items()
            for name, value in metric.compute().items()
        }
        self.evaluations.clear()
        if self.trainer.state.fn == TrainerFn.FITTING:
            self.log_dict(row, sync_dist=True, logger=False)
            if row and not self.trainer.sanity_checking:
                self.write_row(row)
        else:  # Lightning returns what it logs
            position = {"step": float(self.trained_steps()), "epoch": float(self.current_epoch)}
            self.log_dict({**row, **position}, sync_dist=True)
