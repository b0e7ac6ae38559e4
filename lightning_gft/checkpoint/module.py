"""A LightningModule whose checkpoints hold what trains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from typing_extensions import override

from lightning_gft.checkpoint.frozen import FrozenWeights, belongs_to, is_reference
from lightning_gft.checkpoint.settings import OptimizerSettings

OptimizerFn = Callable[[Iterable[nn.Parameter]], Optimizer]
SchedulerFn = Callable[[Optimizer], LRScheduler]

_KEY = "lightning_gft"  # where in a checkpoint the package notes what Lightning does not


class ResumableModule(LightningModule):
    """A LightningModule with one optimizer, whose checkpoints hold what trains, and which only goes on from its own.

    Args:
        optimizer: Gets the trainable parameters.
        lr_scheduler: Gets the optimizer; stepped after every optimizer step.

    Raises:
        TypeError: If the optimizer is no function.
    """

    def __init__(self, optimizer: OptimizerFn, lr_scheduler: SchedulerFn | None) -> None:
        super().__init__()
        if not callable(optimizer):
            raise TypeError(
                "optimizer must be a function from parameters to an optimizer, as in partial(AdamW, lr=1e-5)"
            )
        self.optimizer_fn = optimizer
        self.lr_scheduler_fn = lr_scheduler
        self.strict_loading = False  # what is frozen is not in checkpoints; the rest is checked here
        self._optimizer_settings: OptimizerSettings | None = None
        self._resumed_from: dict[str, Any] | None = None

    def identity(self) -> dict[str, str]:
        """Return what a run that goes on must have in common with this one, by names that errors show."""
        return {}

    def optimizer_description(self) -> dict[str, str]:
        """Return optimizer and schedule in words, or those of the checkpoint that was loaded; empty without either."""
        if self._optimizer_settings is not None:
            return self._optimizer_settings.describe()
        return {} if self._resumed_from is None else dict(self._resumed_from["description"])

    def measured(self) -> dict[str, float]:
        """Return what validation and test have last measured, or had when the checkpoint was written."""
        logged = {} if self._trainer is None else self._trainer.callback_metrics
        own = {name: float(value) for name, value in logged.items() if name.startswith(("val/", "test/"))}
        before = {} if self._resumed_from is None else self._resumed_from["measured"]
        return own or dict(before)

    def remember_frozen(self) -> None:
        """Note which weights are frozen; to be called when they are loaded."""
        self._frozen = FrozenWeights(self)

    @override
    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.optimizer_fn([p for p in self.parameters() if p.requires_grad])
        scheduler = None if self.lr_scheduler_fn is None else self.lr_scheduler_fn(optimizer)
        if isinstance(scheduler, ReduceLROnPlateau):
            raise ValueError("lr_scheduler ReduceLROnPlateau waits for a metric; use a schedule that goes by steps")
        self._optimizer_settings = OptimizerSettings(optimizer, scheduler)
        if self._resumed_from is not None:
            self._optimizer_settings.check(self._resumed_from["optimizer"])
        return optimizer if scheduler is None else {"optimizer": optimizer, "lr_scheduler": scheduler}

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out what is frozen, and note what a run that goes on must have in common with this one."""
        frozen = self._frozen.take_out(checkpoint["state_dict"])
        checkpoint[_KEY] = {
            "identity": self.identity(),
            "frozen": frozen,
            "optimizer": self._optimizer_settings and self._optimizer_settings.name,
            "description": self.optimizer_description(),
            "measured": self.measured(),
        }

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse another run's checkpoint."""
        if _KEY not in checkpoint:
            raise ValueError("the checkpoint was written by something else than a GFTLitModule: begin a new run")
        noted = self._resumed_from = checkpoint[_KEY]
        there, here = noted["identity"], self.identity()
        differences = [
            f"{name} is {there.get(name)} there and {here.get(name)} here"
            for name in sorted({*there, *here})
            if there.get(name) != here.get(name)
        ]
        differences += _shape_differences(checkpoint["state_dict"], self.state_dict(), noted["frozen"])
        _refuse(differences + self._frozen.differences(noted["frozen"]))

    @override
    def on_train_start(self) -> None:
        if self._resumed_from is not None and self._optimizer_settings is not None:
            scheduler = self.lr_schedulers()
            self._optimizer_settings.restore(self.trainer.optimizers[0], scheduler)  # type: ignore[arg-type]


def _refuse(differences: list[str]) -> None:
    if not differences:
        return
    more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
    raise ValueError(
        f"the checkpoint does not belong to this run: {differences[0]}{more}. Go on with the configuration that it was "
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
