"""Manual optimizer steps, which call the hooks that Lightning calls in automatic optimisation."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ParallelStrategy
from torch import Tensor, nn

from lightning_gft.checks import check_number
from lightning_gft.losses import GroupLoss
from lightning_gft.optimization.movement import MovementProbe, WeightSample
from lightning_gft.phases import phase
from lightning_gft.policy import Policy
from lightning_gft.seeds import combine_seeds, seeded
from lightning_gft.training.guards import UpdateGuard
from lightning_gft.training.measures import DIVERGENCE_EACH, StepDivergence, norms_by_block
from lightning_gft.training.plan import StepPlan
from lightning_gft.training.statistics import UpdateFigures
from lightning_gft.types import LossOutput, TokenBatch, TrainedTokens

CountFn = Callable[[GroupLoss, TokenBatch, LossOutput, bool], TrainedTokens]


class Updates:
    """The optimizer steps of a module with one optimizer.

    Args:
        module: LightningModule whose hooks are called as in automatic optimisation.
        guard: Guard that counts gradients that are not finite; they are not applied.
        gradient_clip_val: Largest norm of the gradient; ``None`` disables clipping.

    Attributes:
        max_steps: Optimizer step at which the stage of the run ends, possibly within a batch; -1 sets no limit.
    """

    def __init__(self, module: Any, guard: UpdateGuard, gradient_clip_val: float | None) -> None:
        self.module = module
        self.guard = guard
        if gradient_clip_val is not None:
            gradient_clip_val = check_number(
                "gradient_clip_val", gradient_clip_val, above=0, otherwise="null for no limit"
            )
        self.gradient_clip_val = gradient_clip_val
        self.gradient_norm = torch.zeros(())
        self.max_steps = -1
        self._weights: list[nn.Parameter] = []
        self._movement = MovementProbe([])
        self._measured: dict[str, Tensor] | None = None

    def start(self, weights: list[nn.Parameter]) -> None:
        """Begin to count steps, and to measure how far they move the trainable weights."""
        self._weights = weights
        self._movement = MovementProbe(weights)
        self.module.policy.draws.steps = self.module.global_step

    def end(self) -> None:
        """Evaluate the measured movement of the weights, also if the run ends within its warm-up."""
        self._movement.conclude()

    @phase("update")
    def run(
        self, plan: StepPlan, loss: GroupLoss, policy: Policy, count: CountFn, batch_idx: int
    ) -> tuple[UpdateFigures, TrainedTokens]:
        """Take the optimizer steps on a batch of groups, and return the figures and the tokens of the last one.

        Args:
            plan: Plan that all steps share.
            loss: Objective that computes the coefficients.
            policy: Policy that is trained.
            count: Function that counts the tokens of an update.
            batch_idx: Lightning's number of the batch.
        """
        policy.engine.rest()
        module, trainer = self.module, self.module.trainer
        learning_rate = trainer.optimizers[0].param_groups[0]["lr"]
        self._measured = {} if module.rows.due else None
        divergence = StepDivergence(policy, plan.groups) if module.rows.due_each(DIVERGENCE_EACH) else None
        steps_before = module.global_step
        for number in range(int(min(module.updates_per_batch, self.steps_left()))):
            # The seed of dropout depends on the step's position only, so that a resumed run has the same masks.
            seed = combine_seeds(module.base_seed, module.current_epoch, batch_idx, number, module.global_rank)
            with seeded(seed, policy.device):
                output, trained = self._take(plan, loss, policy, count, batch_idx)
            plan = plan.after_update(output.logprobs, loss.needs())
        measured = self._measured or {}
        if divergence is not None and module.global_step > steps_before:
            measured["kl_step"] = divergence.measure(self.reduce)
        nonfinite = float(self.guard.nonfinite_updates)
        loss_value = self.reduce(output.loss, "mean")
        figures = UpdateFigures(loss_value, self.gradient_norm, learning_rate, nonfinite, measured)
        tokens = replace(trained.tokens, sequence=plan.rows[trained.tokens.sequence])
        return figures, replace(trained, tokens=tokens)

    def steps_left(self) -> float:
        """Return the number of optimizer steps that the stage may still take; infinity without a limit."""
        limits = (self.module.trainer.max_steps, self.max_steps)
        return min((limit - self.module.global_step for limit in limits if limit >= 0), default=math.inf)

    def _take(
        self, plan: StepPlan, loss: GroupLoss, policy: Policy, count: CountFn, batch_idx: int
    ) -> tuple[LossOutput, TrainedTokens]:
        """Take one optimizer step, accumulated over micro-batches, and return the policy's output and its tokens."""
        self._clear(batch_idx)
        passes: list[LossOutput] = []
        for number, micro_batch in enumerate(plan.micro_batches, start=1):
            objective = loss.objective(plan.tokens[micro_batch.index], plan.normalizer)
            with self._gradient_sync(last=number == len(plan.micro_batches)):
                output = policy(micro_batch, objective, entropy=True)
                self.module.manual_backward(output.loss)
            passes.append(replace(output, loss=output.loss.detach()))
        applied = self._finish(batch_idx, policy)
        output = plan.joined(passes)
        trained = count(loss, plan.tokens, output, plan.fresh)
        if applied:
            loss.step()
        return output, trained

    @phase("collective")
    def reduce(self, value: Tensor, op: str) -> Tensor:
        """Return a tensor reduced over ranks by ``op``: ``"sum"``, ``"mean"`` or ``"max"``."""
        reduced = self.module.trainer.strategy.reduce(value.clone(), reduce_op=op)
        assert isinstance(reduced, Tensor)  # noqa: S101 (a tensor reduces to a tensor)
        return reduced

    def _gradient_sync(self, last: bool) -> AbstractContextManager[Any]:
        """Return a context in which gradients accumulate locally; only the last micro-batch reduces them over ranks."""
        strategy = self.module.trainer.strategy
        return nullcontext() if last or not isinstance(strategy, ParallelStrategy) else strategy.block_backward_sync()

    def _clear(self, batch_idx: int) -> None:
        module, optimizer = self.module, self._optimizer().optimizer
        for callback in module.trainer.callbacks:
            callback.on_before_zero_grad(module.trainer, module, optimizer)
        module.on_before_zero_grad(optimizer)
        module.optimizer_zero_grad(module.current_epoch, batch_idx, optimizer)

    def _finish(self, batch_idx: int, policy: Policy) -> bool:
        """Clip the gradient and step optimizer and schedule; return whether the gradient was finite and applied."""
        self.gradient_norm = policy.sharding.gradient_norm()
        if self._measured is not None:
            self._measured = norms_by_block(policy)
        finite = bool(self.gradient_norm.isfinite())
        self.guard.check_gradient(finite)
        if finite:
            optimizer = self._optimizer()
            self.module.configure_gradient_clipping(optimizer.optimizer, self.gradient_clip_val, "norm")
            self._step(optimizer, batch_idx, policy.device)
            policy.weights_changed()
            policy.draws.steps = self.module.global_step
            if (scheduler := self.module.lr_schedulers()) is not None:
                self.module.lr_scheduler_step(scheduler, None)  # at most one
        return finite

    def _step(self, optimizer: LightningOptimizer, batch_idx: int, device: torch.device) -> None:
        learning_rate = max(float(group["lr"]) for group in optimizer.param_groups)
        judges = self._movement.measures(learning_rate)
        sample = WeightSample(self._weights) if judges or self._measured is not None else None
        module = self.module
        module.optimizer_step(module.current_epoch, batch_idx, optimizer, lambda: None)  # the gradients exist already
        if sample is not None and judges:
            changed, total = self.reduce(sample.moved().to(device), "sum").tolist()
            self._movement.judge(module.global_step, learning_rate, changed, total)
        if sample is not None and self._measured is not None:
            change, before = self.reduce(sample.change().to(device), "sum")
            self._measured["update_ratio"] = (change / before).sqrt()

    def _optimizer(self) -> LightningOptimizer:
        optimizer: Any = self.module.optimizers()
        assert isinstance(optimizer, LightningOptimizer)  # noqa: S101 (checked when training began)
        return optimizer
