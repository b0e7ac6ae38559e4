"""A LightningModule that updates its weights by hand, and calls what Lightning calls when it does so itself."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import override

from lightning_gft.evaluated import EvaluatedModule
from lightning_gft.guards import UpdateGuard
from lightning_gft.optimization.movement import MovementProbe
from lightning_gft.optimization.optimizer import OptimizerFn
from lightning_gft.preflight import prepare_callbacks
from lightning_gft.schedules import Schedule, SchedulerFn


class UpdatedModule(EvaluatedModule):
    """A LightningModule with one optimizer, whose overridden hooks are called as in automatic optimisation.

    Args:
        optimizer: Gets the trainable parameters.
        lr_scheduler: A schedule, or a function from an optimizer to one; stepped after every optimizer step.
    """

    gradient_clip_val: float | None
    guard: UpdateGuard

    def __init__(self, optimizer: OptimizerFn, lr_scheduler: Schedule | SchedulerFn | None) -> None:
        super().__init__(optimizer, lr_scheduler)
        # Only by hand can one normaliser span micro-batches and processes.
        self.automatic_optimization = False
        self._movement = MovementProbe([])
        self._grad_norm = torch.zeros(())

    @override
    def configure_callbacks(self) -> list[Callback]:
        prepare_callbacks(self.trainer)  # before they are set up
        return []

    @override
    def setup(self, stage: str) -> None:
        prepare_callbacks(self.trainer)  # those too that a subclass configures

    @override
    def on_train_start(self) -> None:
        super().on_train_start()
        self._movement = MovementProbe(self._trained())

    @override
    def on_train_end(self) -> None:
        self._movement.conclude()  # a run may end within its warm-up

    def begin_update(self, batch_idx: int) -> None:
        """Clear the gradient.

        Args:
            batch_idx: Of the batch of groups.
        """
        optimizer = self._optimizer().optimizer
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            callback.on_before_zero_grad(self.trainer, self, optimizer)
        self.on_before_zero_grad(optimizer)
        self.optimizer_zero_grad(self.current_epoch, batch_idx, optimizer)

    def finish_update(self, batch_idx: int) -> Tensor:
        """Clip the gradient and step optimizer and schedule; a gradient that is not finite is not applied.

        Args:
            batch_idx: Of the batch of groups.

        Returns:
            The norm of the gradient before clipping.
        """
        self._grad_norm = self.policy.sharding.gradient_norm()
        finite = bool(self._grad_norm.isfinite())
        self.guard.check_gradient(finite)
        if finite:
            optimizer = self._optimizer()
            self.configure_gradient_clipping(optimizer.optimizer, self.gradient_clip_val, "norm")
            self._step(optimizer, batch_idx)
            if (scheduler := self.lr_schedulers()) is not None:
                self.lr_scheduler_step(scheduler, None)  # type: ignore[arg-type]  # there is one at most
        return self._grad_norm

    @override
    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Scale the gradient of an update to a norm of at most ``gradient_clip_val``; override to do otherwise.

        Args:
            optimizer: Of the weights that train.
            gradient_clip_val: Largest norm, over all weights and processes; ``None`` does not clip.
            gradient_clip_algorithm: ``"norm"``.
        """
        if gradient_clip_val is not None:
            self.policy.sharding.clip_gradients(gradient_clip_val, self._grad_norm)

    def _step(self, optimizer: LightningOptimizer, batch_idx: int) -> None:
        learning_rate = max(float(group["lr"]) for group in optimizer.param_groups)
        samples = self._movement.sample(learning_rate)
        self.optimizer_step(self.current_epoch, batch_idx, optimizer, lambda: None)  # the gradient is there
        if samples is not None:
            changed, total = self._reduce(self._movement.count(samples).to(self.policy.device), "sum").tolist()
            self._movement.judge(self.global_step, learning_rate, changed, total)

    def _optimizer(self) -> LightningOptimizer:
        optimizer: Any = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)  # noqa: S101 (checked when training began)
        return optimizer

    def _reduce(self, value: Tensor, op: str) -> Tensor:
        reduced = self.trainer.strategy.reduce(value.clone(), reduce_op=op)
        assert isinstance(reduced, Tensor)  # noqa: S101 (a tensor reduces to a tensor)
        return reduced
