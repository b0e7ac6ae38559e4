"""A LightningModule whose checkpoints hold what trains."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from typing_extensions import override

from lightning_gft.checkpoint.contents import NOTE, check_contents
from lightning_gft.checkpoint.files import check_checkpoint, load_checkpoint
from lightning_gft.checkpoint.frozen import FrozenWeights, belongs_to, is_reference
from lightning_gft.checkpoint.resuming import Resumption, check_same_path
from lightning_gft.checkpoint.settings import OptimizerSettings
from lightning_gft.errors import GFTTypeError, GFTValueError
from lightning_gft.optimization.optimizer import OptimizerFn, check_optimizer, make_optimizer
from lightning_gft.schedules import Schedule, SchedulerFn, as_schedule, make_scheduler, optimizer_steps

MEASURED_AT = "measured at step"
"""Stands beside the figures that were measured."""


class ResumableModule(LightningModule):
    """A LightningModule with one optimizer, whose checkpoints hold what trains, and which resumes only from its own.

    Args:
        optimizer: Gets the trainable parameters.
        lr_scheduler: A schedule, or a function from an optimizer to one; stepped after every optimizer step.

    Raises:
        TypeError: If the optimizer is no function.
    """

    updates_per_batch: int

    def __init__(self, optimizer: OptimizerFn, lr_scheduler: Schedule | SchedulerFn | None) -> None:
        super().__init__()
        if not callable(optimizer):
            raise GFTTypeError(
                "optimizer must be a function from parameters to an optimizer, as in partial(AdamW, lr=1e-5)"
            )
        self.optimizer_fn = optimizer
        self.schedule = None if lr_scheduler is None else as_schedule(lr_scheduler)
        self.strict_loading = False  # what is frozen is not in checkpoints; the rest is checked here
        self._frozen: FrozenWeights | None = None
        self._optimizer_settings: OptimizerSettings | None = None
        self._measured_at = 0
        self._earlier_steps = 0
        self._validated_batches = 0
        self._resumed_from: dict[str, Any] | None = None
        self._resumption: Resumption | None = None

    def identity(self) -> dict[str, str]:
        """Return what a run that goes on must have in common with this one, by names that errors show."""
        return {}

    def parts(self) -> dict[str, str]:
        """Return in words what this run is made of, by names that a card shows."""
        return {}

    def trained_parts(self) -> dict[str, str]:
        """Return :meth:`parts`, or those of the checkpoint that was loaded where no training has begun since."""
        noted = {} if self._resumed_from is None else self._resumed_from.get("parts", {})
        return dict(noted) if noted and self._optimizer_settings is None else self.parts()

    def optimizer_description(self) -> dict[str, str]:
        """Return optimizer and schedule in words, or those of the checkpoint that was loaded; empty without either."""
        if self._optimizer_settings is not None:
            return self._optimizer_settings.describe()
        return {} if self._resumed_from is None else dict(self._resumed_from["description"])

    def trained_steps(self) -> int:
        """Return the optimizer steps taken in this fit; before its first, those of the last fit or the checkpoint."""
        return self.global_step or self._earlier_steps

    def write_row(self, row: Mapping[str, Tensor | float]) -> None:
        """Write figures of a fit to the loggers now, where Lightning would after callbacks have written checkpoints.

        So a checkpoint never lacks the rows before it, whenever its run is killed.

        Args:
            row: Figures by the names that they are logged under.
        """
        scalars = {name: float(value) for name, value in row.items()}
        for logger in self.loggers:
            logger.log_metrics({**scalars, "epoch": self.current_epoch}, step=self.trained_steps())
            logger.save()

    def measured(self) -> dict[str, float]:
        """Return what validation and test have last measured, or had when the checkpoint was written."""
        logged = {} if self._trainer is None else self._trainer.callback_metrics
        own = {name: float(value) for name, value in logged.items() if name.startswith(("val/", "test/"))}
        if own:
            own[MEASURED_AT] = float(self._measured_at)
        before = {} if self._resumed_from is None else self._resumed_from["measured"]
        return own or dict(before)

    def load_weights(self, path: str | Path) -> None:
        """Take the weights of a checkpoint; frozen ones, which are not in it, stay as the policy was loaded.

        Args:
            path: A checkpoint of a run with the same parts.

        Raises:
            ValueError: If the checkpoint is damaged, or belongs to other parts.
        """
        check_checkpoint(Path(path))
        self.configure_model()
        checkpoint = load_checkpoint(Path(path))
        self.on_load_checkpoint(checkpoint)
        self.load_state_dict(checkpoint["state_dict"], strict=False)

    @classmethod
    @override
    def load_from_checkpoint(  # type: ignore[override]  # Lightning's is no plain classmethod
        cls,
        checkpoint_path: str | Path,
        map_location: torch.device | str | None = None,
        **parts: Any,
    ) -> Self:
        """Return a module with the weights of a checkpoint, which is never unpickled.

        Args:
            checkpoint_path: File or folder.
            map_location: Device to move the module to.
            parts: The constructor's arguments, as in the run that wrote the checkpoint.

        Raises:
            TypeError: If the constructor does not take these arguments, or needs more.
            ValueError: If the checkpoint belongs to other parts.
        """
        try:
            inspect.signature(cls).bind(**parts)
        except TypeError as error:
            raise GFTTypeError(
                f"{cls.__name__}.load_from_checkpoint: expected the constructor's arguments, got {sorted(parts)} "
                f"({error}); give those of the run that wrote the checkpoint, which holds only what trains. "
                "`lightning-gft export` writes a whole model"
            ) from None
        module = cls(**parts)
        module.load_weights(checkpoint_path)
        return module if map_location is None else module.to(map_location)

    @property
    def frozen(self) -> FrozenWeights:
        """Weights that are not trained, as they were when this was first asked for: right after loading."""
        if self._frozen is None:
            self._frozen = FrozenWeights(self)
        return self._frozen

    @override
    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = make_optimizer(self.optimizer_fn, self._trained())
        scheduler = None if self.schedule is None else self._make_scheduler(optimizer)
        self._optimizer_settings = OptimizerSettings(optimizer, scheduler)
        self._check_optimizer()
        if scheduler is None:
            return optimizer
        # The module steps it; the interval is for LearningRateMonitor, which would log once an epoch.
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    @override
    def on_fit_start(self) -> None:
        optimizers, schedules = self.trainer.optimizers, self.trainer.lr_scheduler_configs
        if len(optimizers) != 1 or len(schedules) > 1:
            raise GFTValueError(
                "configure_optimizers: expected one optimizer and at most one learning-rate schedule, got "
                f"{len(optimizers)} and {len(schedules)}"
            )
        if self._optimizer_settings is None:  # a subclass has made its own
            check_optimizer(optimizers[0], self._trained(), "configure_optimizers")
        if self._resumption is not None:
            self._resumption.lift_limit(self.trainer)

    @override
    def on_fit_end(self) -> None:
        self._earlier_steps = self.trained_steps()  # for another trainer, which counts from 0

    @override
    def on_validation_start(self) -> None:
        if self._resumption is not None:
            self._resumption.restore_limit(self.trainer)
            self._resumption = None

    @override
    def on_validation_epoch_end(self) -> None:
        """Note what has been validated, before any callback keeps a checkpoint in ``on_validation_end``."""
        if not self.trainer.sanity_checking:
            self._measured_at = self.trained_steps()
            self._validated_batches = self.trainer.fit_loop.epoch_loop.total_batch_idx + 1

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out what is frozen, and note what a run that goes on must have in common with this one."""
        checkpoint[NOTE] = {
            "identity": self.identity(),
            "frozen": self.frozen.take_out(checkpoint["state_dict"], self),
            "settings": self._optimizer_settings and self._optimizer_settings.noted(),
            "description": self.optimizer_description(),
            "parts": self.trained_parts(),
            "measured": self.measured(),
            "validated_batches": self._validated_batches,
        }

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse another run's checkpoint."""
        if self._trainer is not None:
            check_same_path(self.trainer)
        fits = self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING
        check_contents(checkpoint, resumes=fits)
        noted = checkpoint[NOTE]
        there, here = noted["identity"], self.identity()
        differences = [
            f"{name} is {there.get(name)} there and {here.get(name)} here"
            for name in sorted({*there, *here})
            if there.get(name) != here.get(name)
        ]
        differences += _shape_differences(checkpoint["state_dict"], self.state_dict(), noted["frozen"])
        _refuse(differences + self.frozen.differences(noted["frozen"]))
        self._resumed_from = noted
        self._earlier_steps = checkpoint["global_step"]
        self._check_optimizer()  # where it is there already, as under a strategy that splits weights
        if fits:
            self._validated_batches = noted["validated_batches"]
            self._measured_at = int(noted["measured"].get(MEASURED_AT, 0))
            self._resumption = Resumption(checkpoint, self._validated_batches, self.trainer)
            if self.trainer.strategy.restore_checkpoint_after_setup:  # and so after `on_fit_start`
                self._resumption.lift_limit(self.trainer)

    @override
    def on_train_start(self) -> None:
        if self._resumption is not None:
            self._resumption.restore_limit(self.trainer)  # a schedule may go by it
        self._restore_settings()
        if self._resumption is not None and self._resumed_from is not None:
            # What a callback monitors is known before the next validation, as it was before the stop.
            for name, value in self._resumed_from["measured"].items():
                if name != MEASURED_AT:  # in float64, as metrics count, so that the next checkpoint notes the same
                    self.trainer.callback_metrics[name] = torch.tensor(value, dtype=torch.float64)
            if not self._resumption.begin(self.trainer):
                self._resumption = None

    def _restore_settings(self) -> None:
        noted, settings = self._noted_settings(), self._optimizer_settings
        if noted is None or settings is None:
            return
        configs = self.trainer.lr_scheduler_configs
        scheduler = configs[0].scheduler if configs else None
        make = None if self.schedule is None else self._make_scheduler
        restored = settings.restore(noted, self.trainer.optimizers[0], scheduler, make)
        if configs and restored is not None:
            configs[0].scheduler = restored

    def _trained(self) -> list[nn.Parameter]:
        return [weight for weight in self.parameters() if weight.requires_grad]

    def _make_scheduler(self, optimizer: Optimizer) -> LRScheduler:
        assert self.schedule is not None  # noqa: S101 (asked for only where there is one)
        return make_scheduler(self.schedule, optimizer, lambda: optimizer_steps(self._trainer, self.updates_per_batch))

    def _check_optimizer(self) -> None:
        if self._optimizer_settings is not None and (noted := self._noted_settings()) is not None:
            self._optimizer_settings.check(noted)

    def _noted_settings(self) -> dict[str, Any] | None:
        """Return the settings of the checkpoint that this fit goes on from; none for one that begins."""
        goes_on = self._resumed_from is not None and self.trainer.ckpt_path is not None
        return self._resumed_from["settings"] if goes_on and self._resumed_from is not None else None


def _refuse(differences: list[str]) -> None:
    if not differences:
        return
    more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
    raise GFTValueError(
        f"the checkpoint does not belong to this run: {differences[0]}{more}; use the configuration that it was "
        "written with, config.yaml beside its logs"
    )


def _shape_differences(saved: Mapping[str, Any], own: Mapping[str, Any], left_out: Mapping[str, str]) -> list[str]:
    own = {name: value for name, value in own.items() if not (belongs_to(name, left_out) or is_reference(name))}
    saved = {name: value for name, value in saved.items() if not is_reference(name)}
    shapes = [
        f"{name} is {list(saved[name].shape)} there and {list(own[name].shape)} here"
        for name in own
        if name in saved and saved[name].shape != own[name].shape
    ]
    only_there = [f"{name} is only in the checkpoint" for name in saved if name not in own]
    return shapes + only_there + [f"{name} is only in this run" for name in own if name not in saved]
