"""The LightningModule: policy, group sampler and loss, and the loop that joins them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import AdamW, Optimizer
from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from lightning_gft.checkpoint import Run, load_module
from lightning_gft.checks import check_count, check_kind
from lightning_gft.distributed import load_policy
from lightning_gft.evaluation import Evaluated, Evaluation, Evaluator
from lightning_gft.losses import GroupLoss
from lightning_gft.optimization.optimizer import OptimizerFn
from lightning_gft.parts import Part
from lightning_gft.policy import Policy, PolicyLoader
from lightning_gft.preflight import check_fit, check_run, check_tokenizer, logged_names, prepare, warn_of_slow_bfloat16
from lightning_gft.sampler import GroupSampler, SampleFn
from lightning_gft.schedules import Schedule, SchedulerFn
from lightning_gft.training import (
    PartsLife,
    Rows,
    RunClock,
    Stages,
    TrainingStatistics,
    UpdateGuard,
    Updates,
    batch_seed,
    check_sampler,
    drawing,
    parts_of,
    plan_step,
    prepare_ahead,
)
from lightning_gft.types import GroupBatch, PromptBatch

_BATCHES = "those of this package's datamodules"


class GFTLitModule(LightningModule):
    """Fine-tunes a language model on groups of responses.

    A training step samples groups, skips sequences that carry no gradient, splits the rest into micro-batches,
    accumulates their gradients under one normaliser of the whole batch over all ranks, clips and updates.

    Args:
        policy: The language model to fine-tune; ``module.policy`` is the loaded policy once the trainer has started.
        sampler: Builds and scores groups.
        loss: The training objective.
        optimizer: Function from the trainable parameters to an optimizer; default AdamW with a learning rate of 1e-6.
        lr_scheduler: A schedule, or a function from an optimizer to one; stepped after every optimizer step.
        evaluation: Settings of validation and test.
        updates_per_batch: Optimizer steps on each batch of groups; ``max_steps`` may end a run within its last batch.
        micro_batch_tokens: Most tokens per forward pass; a longer sequence gets a pass of its own.
        gradient_clip_val: Largest norm of the gradient; ``None`` disables clipping.
        max_nonfinite_updates: Number of non-finite gradients in a row that stops the run; none of them is applied.
        max_uninformative_batches: Number of batches in a row without any difference within a group that stops the run;
            ``None`` never stops it.

    Attributes:
        evaluator: Runs validation and test. A callback may exchange it, ``sampler`` and ``loss`` between two steps.
        stages: Parts that a :class:`~lightning_gft.callbacks.StageSchedule` exchanges them for.
        needs_reference: Whether any loss of the run needs the policy as it was loaded; ``None`` asks the first loss.
        stored_batches: Batches, by data loader and number, that :meth:`predict_step` skips because they are stored.

    Raises:
        ValueError: If a number is out of range, or the sampler does not provide what the loss needs; when training
            starts, if a row of the data could not be scored or answered.
        TypeError: If the policy or the optimizer is of another type.

    Example:
        >>> from lightning_gft import ExactMatchReward, ExpertSource, GFTLoss, ScratchPolicy, SelfSource
        >>> sampler = GroupSampler(
        ...     sources={"expert": ExpertSource(), "self": SelfSource(7)}, rewards={"accuracy": ExactMatchReward()}
        ... )
        >>> module = GFTLitModule(policy=ScratchPolicy("0123456789+-="), sampler=sampler, loss=GFTLoss())
        >>> module.automatic_optimization
        False
    """

    policy: Policy
    needs_reference: bool | None = None
    stored_batches: frozenset[tuple[int, int]] = frozenset()

    def __init__(
        self,
        policy: PolicyLoader,
        sampler: GroupSampler,
        loss: GroupLoss,
        optimizer: OptimizerFn = lambda parameters: AdamW(parameters, lr=1e-6, weight_decay=0.01),
        lr_scheduler: Schedule | SchedulerFn | None = None,
        evaluation: Evaluation | None = None,
        updates_per_batch: int = 1,
        micro_batch_tokens: int = 16384,
        gradient_clip_val: float | None = 1.0,
        max_nonfinite_updates: int = 5,
        max_uninformative_batches: int | None = 100,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False  # one normaliser for all micro-batches and ranks needs manual optimisation
        self.strict_loading = False  # checkpoints lack frozen weights; all others are checked when one is loaded
        given = "ModelPolicy(model, tokenizer)" if isinstance(policy, torch.nn.Module) else "PretrainedPolicy('name')"
        check_kind("policy", policy, PolicyLoader, given)
        check_kind("sampler", sampler, GroupSampler, "GroupSampler(sources={...}, rewards={...})")
        check_kind("loss", loss, GroupLoss, "GFTLoss()")
        check_kind("evaluation", evaluation or Evaluation(), Evaluation, "Evaluation(num_samples=8)")
        check_sampler(sampler, loss)
        self.policy_loader, self.sampler, self.loss = policy, sampler, loss
        self.evaluator = Evaluator(evaluation or Evaluation())
        self.evaluator.reward_name(sampler.rewards)
        self.updates_per_batch = check_count("updates_per_batch", updates_per_batch)
        self.micro_batch_tokens = check_count("micro_batch_tokens", micro_batch_tokens)
        self.guard = UpdateGuard(max_nonfinite_updates, max_uninformative_batches)
        self.statistics = TrainingStatistics()
        self.updates = Updates(self, self.guard, gradient_clip_val)
        self.run = Run(self, optimizer, lr_scheduler)
        self.clock = RunClock()
        self.rows = Rows(self, self.run.steps, self.clock)
        self.life, self.stages = PartsLife(), Stages(self)
        self.base_seed = 0

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's tokenizer, available before its weights are loaded."""
        return self.policy_loader.tokenizer

    @property
    def keeps_reference(self) -> bool:
        """Whether the policy as it was loaded is kept, for the KL of evaluation or the reference of a loss."""
        needed = "ref_logprobs" in self.loss.needs() if self.needs_reference is None else self.needs_reference
        return self.evaluator.settings.kl or needed

    def logged_names(self) -> set[str]:
        """Return the names of the figures that are logged while training; a subclass that logs more adds its own."""
        return {*logged_names(self.trainer, self.stages.all(), self.evaluator), *self.rows.progress_names}

    @classmethod
    @override
    def load_from_checkpoint(  # type: ignore[override]  # Lightning's is not a plain classmethod
        cls, checkpoint_path: str | Path, map_location: torch.device | str | None = None, **parts: Any
    ) -> Self:
        """Return a module with the weights of a checkpoint, which is never unpickled.

        Args:
            checkpoint_path: Checkpoint file, or folder of shards.
            map_location: Device to move the module to.
            parts: The constructor's arguments, as in the run that wrote the checkpoint.
        """
        return load_module(cls, checkpoint_path, map_location, parts)

    @override
    def configure_callbacks(self) -> list[Callback]:
        prepare(self.trainer)  # the one hook before Lightning's own checks, and before callbacks are set up
        return [self.life, self.clock]

    @override
    def setup(self, stage: str) -> None:
        prepare(self.trainer)  # again, for callbacks that a subclass configures
        self.base_seed = torch.initial_seed()
        check_tokenizer(self.stages.samplers(), self.tokenizer)
        self.life.begin(self.stages.parts(), self.device)  # before some demonstrations are scored
        check_run(self.trainer, self, stage, own_code=type(self) is not GFTLitModule)

    @override
    def configure_model(self) -> None:
        if not hasattr(self, "policy"):
            self.policy = load_policy(self.run.load_policy, self._trainer)
            if self._trainer is not None:
                warn_of_slow_bfloat16(self.trainer, self.policy.parameters())

    @override
    def configure_optimizers(self) -> OptimizerLRScheduler:
        return self.run.optimizer.configure()

    @override
    def on_fit_start(self) -> None:
        self.run.start_fit()

    @override
    def on_train_start(self) -> None:
        self.run.start_training()
        check_fit(self.trainer, self, own_code=type(self) is not GFTLitModule)
        self.updates.start(self.run.optimizer.weights)
        self.life.reset()  # drops counts from before training

    @override
    def on_train_end(self) -> None:
        self.updates.end()

    @override
    def on_fit_end(self) -> None:
        self.run.end_fit()

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.run.save(checkpoint)
        checkpoint["update_guard"] = self.guard.state_dict()

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.run.load(checkpoint)
        if "update_guard" in checkpoint:
            self.guard.load_state_dict(checkpoint["update_guard"])

    @override
    def training_step(self, batch: PromptBatch, batch_idx: int) -> dict[str, Any]:
        """Return ``loss``, ``groups`` and ``trained``, the last update's tokens, which callbacks get as ``outputs``."""
        check_kind("a batch of training", batch, PromptBatch, _BATCHES)
        self.run.restore_parts()
        reduce, parts = self.updates.reduce, self._begin_parts()
        groups = self._sample(self.sampler.sample_for_training, batch, batch_idx)
        correctness = self.evaluator.correctness(self.sampler.rewards)
        self.statistics.count_groups(self.loss, groups, len(batch), correctness, self.policy.draws.steps)
        self.guard.check_groups(groups, self.loss, reduce)
        plan = plan_step(groups, self.loss, self.policy, self.micro_batch_tokens, reduce, self.trainer.world_size)
        update, trained = self.updates.run(plan, self.loss, self.policy, self.statistics.count_pass, batch_idx)
        figures = self.statistics.collect(reduce(groups.lengths.sum(), "sum"), self.clock.step_seconds(), update)
        self.rows.step(figures | self.life.figures(parts, taken=figures))
        return {"loss": update.loss, "groups": groups, "trained": trained}

    @override
    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Scale the gradient of an update to a norm of at most ``gradient_clip_val``; override for another method."""
        if gradient_clip_val is not None:
            self.policy.sharding.clip_gradients(gradient_clip_val, self.updates.gradient_norm)

    @override
    def on_validation_start(self) -> None:
        self.run.start_validation()

    @override
    def on_validation_epoch_start(self) -> None:
        self.evaluator.start(self.policy)

    @override
    def validation_step(  # type: ignore[override]  # callbacks get whatever a step returns
        self, batch: PromptBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> Evaluated:
        """Return the drawn responses; ``module.evaluator.evaluated`` keeps all of them until ``on_validation_end``."""
        check_kind("a batch of evaluation", batch, PromptBatch, _BATCHES)
        self._begin_parts()
        seed = batch_seed(self, self.evaluator.settings.seed, batch, dataloader_idx, batch_idx)
        return self.evaluator.step(batch, self.policy, self.sampler, seed, self.micro_batch_tokens)

    @override
    def on_validation_epoch_end(self) -> None:
        self.run.end_validation()
        self.rows.evaluation("val", self.evaluator.finish(), self._scored())

    @override
    def on_validation_end(self) -> None:
        self.evaluator.leave()  # callbacks have received the responses

    on_test_epoch_start = on_validation_epoch_start
    test_step = validation_step  # type: ignore[assignment]
    on_test_end = on_validation_end

    @override
    def on_test_epoch_end(self) -> None:
        self.rows.evaluation("test", self.evaluator.finish(), self._scored())

    @override
    def on_predict_epoch_start(self) -> None:
        self.evaluator.start(self.policy, reference=False)

    @override
    def predict_step(self, batch: PromptBatch, batch_idx: int, dataloader_idx: int = 0) -> GroupBatch | None:
        """Return the scored groups of a batch of prompts, or ``None`` if they are already stored."""
        check_kind("a batch of prediction", batch, PromptBatch, _BATCHES)
        if (dataloader_idx, batch_idx) in self.stored_batches:
            return None
        self._begin_parts()
        return self._sample(self.sampler.sample, batch, batch_idx, dataloader_idx)

    on_predict_epoch_end = on_validation_end

    def _begin_parts(self) -> dict[str, Part]:
        """Set up new parts, and return all parts in use."""
        parts = parts_of(self.sampler, self.loss, self.policy.engine)
        self.life.begin(parts, self.policy.device)
        return parts

    def _scored(self) -> dict[str, Tensor | float]:
        """Return the counts of all parts but the loss in an evaluation."""
        return self.life.figures({prefix: part for prefix, part in self._begin_parts().items() if prefix})

    def _sample(self, sample: SampleFn, batch: PromptBatch, batch_idx: int, loader: int | None = None) -> GroupBatch:
        with drawing(self):
            prepare_ahead(self, batch, batch_idx, loader)
            number = self.current_epoch if loader is None else loader
            return sample(batch, self.policy, batch_seed(self, self.base_seed, batch, number, batch_idx))
