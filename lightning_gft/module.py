"""The LightningModule: policy, group sampler and loss, and the loop that joins them."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.strategies import ParallelStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.optim import AdamW
from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from lightning_gft.checkpoint import describe_parts
from lightning_gft.checks import check_count, check_kind, check_number
from lightning_gft.data import PromptDataModule
from lightning_gft.distributed import check_strategy, load_policy
from lightning_gft.evaluated import check_batch
from lightning_gft.evaluation import Evaluation, Evaluator, log_key
from lightning_gft.guards import UpdateGuard, check_group_size, warn_of_small_groups
from lightning_gft.lm.micro_batches import without_tokens
from lightning_gft.losses import GroupLoss
from lightning_gft.optimization.optimizer import OptimizerFn
from lightning_gft.policy import Policy, PolicyLoader
from lightning_gft.preflight import (
    check_data,
    check_monitors,
    check_not_compiled,
    check_precision,
    check_trainer_options,
    logged_names,
    warn_of_slow_bfloat16,
    warn_of_unused,
)
from lightning_gft.sampler import GroupSampler
from lightning_gft.schedules import Schedule, SchedulerFn
from lightning_gft.seeds import combine_seeds
from lightning_gft.statistics import TrainingStatistics, UpdateFigures
from lightning_gft.types import GroupBatch, PromptBatch
from lightning_gft.updated import UpdatedModule

_PROGRESS_BAR = {"reward": "reward", "tokens/s": "tokens_per_second"}
"""What the progress bar shows, under names short enough for a line of 80 columns."""


class GFTLitModule(UpdatedModule):
    """Fine-tunes a language model on groups of responses.

    A training step samples groups, drops the sequences that carry no gradient, splits the rest into micro-batches,
    accumulates their gradients under one normaliser that counts the whole batch over all processes, clips and updates.

    Args:
        policy: The language model to fine-tune; ``module.policy`` is what it loads, once the trainer has started.
        sampler: Builds and scores groups.
        loss: The objective.
        optimizer: Gets the trainable parameters; default AdamW with a learning rate of 1e-6.
        lr_scheduler: A schedule, or a function from an optimizer to one; stepped after every optimizer step. See
            docs/training.md.
        evaluation: What validation and test measure.
        updates_per_batch: Optimizer steps on each batch of groups; ``max_steps`` may end a run within its last batch.
        micro_batch_tokens: Most tokens that go through the model at once, see
            :meth:`~lightning_gft.Policy.micro_batch_rows`; a sequence that has more goes alone.
        gradient_clip_val: Largest norm of the gradient; ``None`` does not clip.
        max_nonfinite_updates: A gradient that is not finite is not applied; this many in a row stop the run.
        max_uninformative_batches: This many batches in a row without any difference within a group stop the run;
            ``None`` carries on.

    Raises:
        ValueError: If a number is out of range, or groups are too small for the advantage that the loss uses; when
            training starts, if a row of the data could not be scored or answered.
        TypeError: If the policy or the optimizer is of another kind.

    Example:
        >>> from lightning_gft import ExactMatchReward, ExpertSource, GFTLoss, ScratchPolicy, SelfSource
        >>> module = GFTLitModule(
        ...     policy=ScratchPolicy(alphabet="0123456789+-="),
        ...     sampler=GroupSampler(
        ...         sources={"expert": ExpertSource(), "self": SelfSource(num_generations=7)},
        ...         rewards={"accuracy": ExactMatchReward()},
        ...     ),
        ...     loss=GFTLoss(),
        ... )
        >>> module.automatic_optimization
        False
    """

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
        super().__init__(optimizer, lr_scheduler)
        no_limit = "null for no limit"
        if gradient_clip_val is not None:
            gradient_clip_val = check_number("gradient_clip_val", gradient_clip_val, above=0, otherwise=no_limit)
        if max_uninformative_batches is not None:
            max_uninformative_batches = check_count(
                "max_uninformative_batches", max_uninformative_batches, otherwise=no_limit
            )
        check_kind("policy", policy, PolicyLoader, "PretrainedPolicy('path/or/name')")
        check_kind("sampler", sampler, GroupSampler, "GroupSampler(sources={...}, rewards={...})")
        check_kind("loss", loss, GroupLoss, "GFTLoss()")
        check_kind("evaluation", evaluation or Evaluation(), Evaluation, "Evaluation(num_samples=8)")
        check_group_size(sampler, loss)
        self.policy_loader = policy
        self.sampler = sampler
        self.loss = loss
        self.evaluator = Evaluator(evaluation or Evaluation(), sampler.rewards)
        self.updates_per_batch = check_count("updates_per_batch", updates_per_batch)
        self.micro_batch_tokens = check_count("micro_batch_tokens", micro_batch_tokens)
        self.gradient_clip_val = gradient_clip_val
        self.guard = UpdateGuard(check_count("max_nonfinite_updates", max_nonfinite_updates), max_uninformative_batches)
        self.statistics = TrainingStatistics(list(sampler.rewards))
        self.base_seed = 0

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's tokenizer, there before its weights are."""
        return self.policy_loader.tokenizer

    @override
    def configure_callbacks(self) -> list[Callback]:
        # The one hook before Lightning's own check, which does not know this module's settings.
        if self.trainer.state.fn == TrainerFn.FITTING:
            check_trainer_options(self.trainer)
        return super().configure_callbacks()

    @override
    def setup(self, stage: str) -> None:
        super().setup(stage)
        check_not_compiled(self)
        check_strategy(self.trainer.strategy, self.trainer.precision)
        check_precision(self.trainer)
        self.policy_loader.check_trainer(self.trainer.strategy, self.trainer.precision)
        self.base_seed = torch.initial_seed()
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, PromptDataModule):
            warn_of_unused(data, self.policy_loader, self.sampler)
            check_data(data, self.sampler, self.evaluator.settings.max_new_tokens, self.tokenizer)
        if stage == "fit":
            check_monitors(self.trainer, self.logged_names(), own_code=type(self) is not GFTLitModule)

    def logged_names(self) -> set[str]:
        """Return the names under which figures are logged while training; a subclass that logs more adds its own."""
        names = logged_names(self.trainer, self.statistics, self.loss, self.sampler, self.evaluator)
        return {*names, *_PROGRESS_BAR}

    @override
    def teardown(self, stage: str) -> None:
        super().teardown(stage)
        for reward in self.sampler.rewards.values():
            reward.close()

    @override
    def configure_model(self) -> None:
        if not hasattr(self, "policy"):
            self.policy = load_policy(self._load_policy, self._trainer)
            if self._trainer is not None:
                warn_of_slow_bfloat16(self.trainer, self.policy.parameters())

    def _load_policy(self) -> Policy:
        self.policy = self.policy_loader.load(self.evaluator.settings.kl or self.loss.needs_ref_logprobs)
        _ = self.frozen  # as they are now
        return self.policy

    @override
    def identity(self) -> dict[str, str]:
        return self.policy.identity

    @override
    def parts(self) -> dict[str, str]:
        data = None if self._trainer is None else getattr(self._trainer, "datamodule", None)
        return describe_parts(self.policy_loader, self.sampler, self.loss, self.updates_per_batch, data)

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["update_guard"] = self.guard.state_dict()

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.guard.load_state_dict(checkpoint["update_guard"])

    # Training

    @override
    def training_step(self, batch: PromptBatch, batch_idx: int) -> dict[str, Any]:
        """Return the loss of the last update, and the groups, for callbacks."""
        check_batch(batch, "training")
        started = time.perf_counter()
        seed = self._seed(self.current_epoch, batch_idx, rank=self.rank_of(batch))
        # Sources may draw several times, and not as often on every process.
        with self.policy.sharding.whole(*([self.policy.model] if self.sampler.draws else [])):
            groups = self.sampler.sample(batch, self.policy, seed)
            self.statistics.groups.update(groups, len(batch))
            self._check_informative(groups)
            groups = self._with_logprobs(groups)
        learning_rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        left = self.trainer.max_steps - self.global_step if self.trainer.max_steps >= 0 else self.updates_per_batch
        for number in range(min(self.updates_per_batch, left)):
            with self._randomness(self.current_epoch, batch_idx, number):
                loss, grad_norm = self._update(groups, batch_idx)
            groups = replace(groups, sampling_logprobs=None)  # the policy is no longer the one that drew them
        nonfinite = float(self.guard.nonfinite_updates)
        update = UpdateFigures(self._reduce(loss, "mean"), grad_norm, learning_rate, nonfinite)
        self._log_step(groups, update, time.perf_counter() - started)
        return {"loss": update.loss, "groups": groups}

    def _with_logprobs(self, groups: GroupBatch) -> GroupBatch:
        """Add the log-probabilities that the loss compares with, taken before the first update."""
        if self.loss.needs_old_logprobs:
            groups = replace(groups, old_logprobs=self.policy.token_logprobs(groups, self.micro_batch_tokens)[0])
        if self.loss.needs_ref_logprobs:
            with self.policy.reference():
                groups = replace(groups, ref_logprobs=self.policy.token_logprobs(groups, self.micro_batch_tokens)[0])
        return groups

    def _check_informative(self, groups: GroupBatch) -> None:
        informative = self.loss.informative(groups)
        counts = torch.stack([torch.tensor(len(groups), device=self.policy.device), informative.sum()])
        num_responses, num_informative = self._reduce(counts, "sum").tolist()
        self.guard.check_batch(num_responses, num_informative)
        warn_of_small_groups(groups, self.sampler, self.loss)

    def _update(self, groups: GroupBatch, batch_idx: int) -> tuple[Tensor, Tensor]:
        """Take one optimizer step and return the loss and the norm of the gradient before clipping."""
        self.begin_update(batch_idx)
        weights, count = self.loss.reduce(groups)
        # Strategies average gradients over processes, where the sum is wanted.
        normalizer = self._reduce(count, "sum").clamp(min=1) / self.trainer.world_size
        micro_batches = self._micro_batches(replace(groups, weights=weights))
        loss = torch.zeros((), device=self.policy.device)
        for number, micro_batch in enumerate(micro_batches, start=1):
            with self._gradient_sync(last=number == len(micro_batches)):
                output = self.policy(micro_batch, self.loss.coefficients, normalizer, entropy=True)
                self.manual_backward(output.loss)
            self.statistics.count_pass(self.loss, micro_batch, output)
            loss += output.loss.detach()
        self.loss.rectifier.step()
        return loss, self.finish_update(batch_idx)

    def _micro_batches(self, groups: GroupBatch) -> list[GroupBatch]:
        """Split the sequences that carry a gradient; every process gets the same number of micro-batches."""
        informative = groups.select(self.loss.informative(groups).nonzero().squeeze(1))
        pieces = [
            informative.select(rows) for rows in self.policy.micro_batch_rows(informative, self.micro_batch_tokens)
        ]
        wanted = int(self._reduce(torch.tensor(max(len(pieces), 1), device=self.policy.device), "max"))
        return pieces + [without_tokens(groups)] * (wanted - len(pieces))

    def _gradient_sync(self, last: bool) -> AbstractContextManager[Any]:
        """Gradients accumulate locally and are exchanged once, with the last micro-batch."""
        strategy = self.trainer.strategy
        return nullcontext() if last or not isinstance(strategy, ParallelStrategy) else strategy.block_backward_sync()

    def _log_step(self, groups: GroupBatch, update: UpdateFigures, seconds: float) -> None:
        num_tokens = self._reduce(groups.lengths.sum(), "sum")
        figures = self.statistics.collect(self.loss, num_tokens, seconds, update)
        row = {log_key("train", name): value for name, value in figures.items()}
        self.log_dict(row, logger=False, batch_size=1)  # for callbacks that monitor them
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # 0 for never, as in a barebones run
        if every and (self.trainer.fit_loop.total_batch_idx + 1) % every == 0:
            self.write_row(row)
        for shown, name in _PROGRESS_BAR.items():
            self.log(shown, figures[name], prog_bar=True, logger=False, batch_size=1)

    @override
    def predict_step(self, batch: PromptBatch, batch_idx: int, dataloader_idx: int = 0) -> GroupBatch:
        """Return the scored groups of a batch of prompts."""
        check_batch(batch, "prediction")
        return self.sampler.sample(batch, self.policy, self._seed(dataloader_idx, batch_idx, rank=self.rank_of(batch)))

    # Processes

    def _randomness(self, *parts: int) -> AbstractContextManager[Any]:
        """Let chance within a step, as in dropout, follow from its place alone: a resumed run draws the same."""
        context = ExitStack()
        context.enter_context(torch.random.fork_rng([self.policy.device] if self.policy.device.type == "cuda" else []))
        torch.manual_seed(self._seed(*parts, rank=self.global_rank))
        return context

    def _seed(self, *parts: int, rank: int) -> int:
        """Return a seed that differs between steps and processes but not between a run and its repetition."""
        return combine_seeds(self.base_seed, *parts, rank)
