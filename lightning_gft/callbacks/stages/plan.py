"""Combines the settings of the stages with the module's own parts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from functools import partial
from typing import Any

from lightning.pytorch import Trainer

from lightning_gft.callbacks.stages.lengths import Progress, num_steps
from lightning_gft.callbacks.stages.stage import Stage
from lightning_gft.checkpoint import OptimizerChoice
from lightning_gft.checks import check_kind
from lightning_gft.errors import GFTTypeError, GFTValueError, naming_errors
from lightning_gft.module import GFTLitModule
from lightning_gft.schedules import as_schedule
from lightning_gft.training import StageParts

_NAME = re.compile(r"[A-Za-z0-9][\w-]*")
_TAKEN = {"train", "val", "test", "predict", "epoch", "step", "reward", "tokens"}
"""Names, or first parts of names, of other figures."""


class Plan:
    """The stages of a module's run.

    Args:
        stages: The stages by name, in their order.
        module: The module before its first stage; it supplies each part that a stage omits.
    """

    def __init__(self, stages: Mapping[str, Stage], module: GFTLitModule) -> None:
        self.stages = stages
        self.module = module
        self._loss, self._sampler = module.loss, module.sampler
        self._choice = module.run.optimizer.choice
        self._updates_per_batch = module.updates_per_batch

    def parts(self) -> dict[str, StageParts]:
        """Return the loss and the sampler of each stage, by its name."""
        parts = {}
        for name, stage in self.stages.items():
            with naming_stage(name):
                parts[name] = stage.parts(self._loss, self._sampler)
        return parts

    def choices(self, trainer: Trainer, begun: Callable[[str], Progress]) -> dict[str, OptimizerChoice]:
        """Return the optimizer and the schedule of each stage, by its name.

        Args:
            trainer: The trainer, which may end the run before a stage ends.
            begun: Returns the progress with which a stage, given by its name, began.
        """
        choice, choices = self._choice, {}
        for name, stage in self.stages.items():
            if stage.optimizer is not None:
                choice = replace(choice, optimizer=stage.optimizer, optimizer_field=f"stages.{name}.optimizer")
            length = partial(self._num_steps, trainer, begun, name)
            choices[name] = replace(choice, num_steps=length, learning_rate=stage.learning_rate, stage=name)
            if stage.lr_scheduler is not None:
                schedule, field = as_schedule(stage.lr_scheduler), f"stages.{name}.lr_scheduler"
                choices[name] = replace(choices[name], schedule=schedule, schedule_field=field)
        return choices

    def updates_per_batch(self, name: str) -> int:
        """Return the optimizer steps that a stage takes on each batch of groups."""
        return self.stages[name].updates_per_batch or self._updates_per_batch

    def _num_steps(self, trainer: Trainer, begun: Callable[[str], Progress], name: str) -> int:
        return num_steps(self.stages[name], begun(name), trainer, self.updates_per_batch(name))


def check_stages(stages: Any) -> None:
    """Raise an error if stages cannot be used, or if a name cannot begin the name of a figure.

    Raises:
        ValueError: If there is no stage, if a stage has no length, or if a name is taken or has other characters.
        TypeError: If ``stages`` is no dict of stages.
    """
    if not isinstance(stages, Mapping):
        raise GFTTypeError(f"`stages`: expected a dict of stages by name, got a {type(stages).__name__}; give one")
    if not stages:
        raise GFTValueError("`stages`: expected at least one, got none; give one such as sft")
    for name, stage in stages.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _TAKEN:
            raise GFTValueError(
                f"`stages`: expected a name of letters, digits, - and _ that no figure has, got {name!r}; choose "
                "another, such as sft"
            )
        check_kind(f"stages.{name}", stage, Stage, "Stage(SFTLoss(), max_steps=100)")
        with naming_stage(name):
            stage.check()


def naming_stage(name: str) -> AbstractContextManager[None]:
    """Return a context in which errors begin with the setting of a stage."""
    return naming_errors(f"stages.{name}", [field.name for field in fields(Stage)])
