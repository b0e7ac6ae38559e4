"""The optimizer of a run and its learning-rate schedule: built, exchanged, and restored from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_gft.checkpoint.settings import OptimizerSettings
from lightning_gft.errors import GFTTypeError, naming_errors
from lightning_gft.optimization.optimizer import OptimizerFn, make_optimizer
from lightning_gft.schedules import Length, Schedule, SchedulerFn, as_schedule, make_scheduler, optimizer_steps


@dataclass(frozen=True)
class OptimizerChoice:
    """An optimizer and its schedule, as factories.

    Args:
        optimizer: Function from the trainable weights to an optimizer.
        schedule: The learning rate over the steps; ``None`` for a constant one.
        num_steps: Number of steps, or a function that returns it, for a schedule that does not define its own.
        learning_rate: Learning rate that replaces the optimizer's own in all parameter groups.
        optimizer_field: Setting of the optimizer, which errors about it begin with.
        schedule_field: Setting of the schedule.
        stage: Stage that both are for, which errors and warnings name; empty in a run without stages.
    """

    optimizer: OptimizerFn
    schedule: Schedule | None
    num_steps: Length
    learning_rate: float | None = None
    optimizer_field: str = "model.optimizer"
    schedule_field: str = "model.lr_scheduler"
    stage: str = ""

    def make(self, weights: Sequence[nn.Parameter]) -> tuple[Optimizer, LRScheduler | None]:
        """Build a new optimizer and schedule.

        Args:
            weights: The trainable weights.

        Raises:
            ValueError: If one of them cannot be built.
            TypeError: If the factory of one of them returns an object of another type.
        """
        with self._naming():
            optimizer = make_optimizer(self.optimizer, weights, self.optimizer_field)
        if self.learning_rate is not None:
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate
        return optimizer, None if self.schedule is None else self.make_scheduler(optimizer)

    def make_scheduler(self, optimizer: Optimizer) -> LRScheduler:
        """Return the schedule, which must exist, for an optimizer that has its initial learning rate."""
        assert self.schedule is not None  # noqa: S101 (called only if there is one)
        with self._naming():
            return make_scheduler(self.schedule, optimizer, self.num_steps, self.schedule_field)

    def _naming(self) -> AbstractContextManager[None]:
        return naming_errors(f"stages.{self.stage}") if self.stage else nullcontext()


class RunOptimizer:
    """The one optimizer of a module's run.

    Args:
        module: A :class:`~lightning_gft.GFTLitModule`.
        optimizer: Function from the trainable parameters to an optimizer.
        lr_scheduler: A schedule, or a function from an optimizer to one; stepped after every optimizer step.

    Attributes:
        choice: Factories of the optimizer and schedule.
        settings: Settings of both when they were built; ``None`` before, or if a subclass builds its own.

    Raises:
        TypeError: If the optimizer is not a function.
    """

    def __init__(
        self, module: LightningModule, optimizer: OptimizerFn, lr_scheduler: Schedule | SchedulerFn | None
    ) -> None:
        if not callable(optimizer):
            raise GFTTypeError(
                "`optimizer`: expected a function from parameters to an optimizer, got "
                f"{type(optimizer).__name__}; give one such as partial(AdamW, lr=1e-5)"
            )
        self._module: Any = module
        schedule = None if lr_scheduler is None else as_schedule(lr_scheduler)
        self.choice = OptimizerChoice(optimizer, schedule, self._num_steps)
        self.settings: OptimizerSettings | None = None
        self._kept: Optimizer | None = None
        self._noted: Mapping[str, Any] | None = None

    @property
    def weights(self) -> list[nn.Parameter]:
        """The trainable parameters."""
        return [weight for weight in self._module.parameters() if weight.requires_grad]

    def configure(self) -> OptimizerLRScheduler:
        """Build the optimizer and schedule, in the form that Lightning expects."""
        optimizer, scheduler = self.choice.make(self.weights)
        self.settings = OptimizerSettings(optimizer, scheduler)
        if self._kept is not None:
            optimizer, scheduler = self._kept, self.settings.begin(self._kept, self._make())
        self._check()
        if scheduler is None:
            return optimizer
        # The module steps it; the interval is for LearningRateMonitor, which would otherwise log once per epoch.
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def exchange(self, choice: OptimizerChoice, *, keep: bool) -> None:
        """Exchange optimizer and schedule between two steps.

        Args:
            choice: Factories of the new ones.
            keep: Whether the optimizer stays, with its state, and only its learning rate and schedule are replaced; a
                new optimizer has no state.
        """
        strategy = self._module.trainer.strategy
        self.choice, self._kept = choice, strategy.optimizers[0] if keep else None
        strategy.setup_optimizers(self._module.trainer)
        self._kept = None

    def resume(self, noted: Mapping[str, Any] | None) -> None:
        """Store a checkpoint's notes on both, to be compared with the run's own; its state is not loaded yet.

        Args:
            noted: The checkpoint's :meth:`OptimizerSettings.noted`; ``None`` if a subclass built its own.

        Raises:
            ValueError: If the optimizer already exists, as under a strategy that shards weights, and is another one.
        """
        self._noted = noted
        if self._module.trainer.strategy.restore_checkpoint_after_setup:
            self._check()

    def restore(self) -> None:
        """Apply settings that have changed since the checkpoint, whose state is already loaded."""
        noted, self._noted = self._noted, None
        if noted is None or self.settings is None:
            return
        trainer = self._module.trainer
        configs = trainer.lr_scheduler_configs
        scheduler = configs[0].scheduler if configs else None
        restored = self.settings.restore(noted, trainer.optimizers[0], scheduler, self._make())
        if configs and restored is not None:
            configs[0].scheduler = restored

    def _make(self) -> SchedulerFn | None:
        return None if self.choice.schedule is None else self.choice.make_scheduler

    def _num_steps(self) -> int:
        return optimizer_steps(self._module._trainer, self._module.updates_per_batch)

    def _check(self) -> None:
        if self.settings is not None and self._noted is not None:
            self.settings.check(self._noted)
