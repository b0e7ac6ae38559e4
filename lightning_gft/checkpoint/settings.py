"""Optimizer settings of a resumed run: configured ones override those of the checkpoint."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from lightning_gft.errors import GFTValueError
from lightning_gft.schedules import SchedulerFn


class OptimizerSettings:
    """Configured settings of optimizer and schedule, which override those of a checkpoint.

    Only settings whose configuration has changed are overridden; counters and averages are kept.

    Args:
        optimizer: The optimizer as it was built.
        scheduler: The schedule as it was built, or ``None``.
    """

    def __init__(self, optimizer: Optimizer, scheduler: LRScheduler | None) -> None:
        self.name = f"{type(optimizer).__module__}.{type(optimizer).__qualname__}"
        self.groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
        self.schedule = None if scheduler is None else type(scheduler).__name__
        self._fresh_schedule = "" if scheduler is None else _described(scheduler)

    def noted(self) -> dict[str, Any]:
        """Return the notes in a checkpoint, which a resumed run compares its settings with."""
        return {
            "optimizer": self.name,
            "groups": [{name: repr(value) for name, value in group.items()} for group in self.groups],
            "schedule": self._schedule(),
        }

    def describe(self) -> dict[str, str]:
        """Describe both."""
        groups = (", ".join(f"{k}={v!r}" for k, v in group.items() if v is not None) for group in self.groups)
        described = {"optimizer": "; ".join(f"{self.name.rpartition('.')[2]}({group})" for group in groups)}
        return described if self.schedule is None else {**described, "learning rate schedule": self.schedule}

    def check(self, noted: Mapping[str, Any]) -> None:
        """Check that a checkpoint's optimizer is of the same class.

        Args:
            noted: The checkpoint's :meth:`noted`.

        Raises:
            ValueError: If it is another class.
        """
        if noted["optimizer"] != self.name:
            raise GFTValueError(
                f"`model.optimizer`: expected {noted['optimizer']}, as in the checkpoint, got {self.name}; use the "
                "same one, or begin a new run from exported weights"
            )

    def restore(
        self, noted: Mapping[str, Any], optimizer: Optimizer, scheduler: LRScheduler | None, make: SchedulerFn | None
    ) -> LRScheduler | None:
        """Apply settings whose configuration has changed, and return the schedule to continue with.

        Args:
            noted: The checkpoint's :meth:`noted`.
            optimizer: The optimizer, with the checkpoint's state loaded.
            scheduler: The schedule, with the checkpoint's state loaded.
            make: Builds a new schedule.
        """
        for group, own, before in zip(optimizer.param_groups, self.groups, noted["groups"], strict=True):
            group.update({name: value for name, value in own.items() if before.get(name) != repr(value)})
        if noted["schedule"] == self._schedule():
            return scheduler
        if scheduler is None or make is None:  # the schedule has ended
            for group, own in zip(optimizer.param_groups, self.groups, strict=True):
                group["lr"] = own["lr"]
            return scheduler
        return self._replay(optimizer, make, num_steps=_num_steps(scheduler))

    def begin(self, optimizer: Optimizer, make: SchedulerFn | None) -> LRScheduler | None:
        """Reset the learning rate of an optimizer that has taken steps, and return a new schedule for it.

        Args:
            optimizer: An optimizer of the same class, with its state.
            make: Builds a schedule; ``None`` for a constant learning rate.
        """
        if make is not None:
            return self._replay(optimizer, make, num_steps=0)
        self._begin_groups(optimizer, "lr")
        return None

    def _schedule(self) -> str:
        # The schedule's own settings, and the learning rates that it starts from.
        rates = [group.get("initial_lr") for group in self.groups]
        return f"{self.schedule} {rates} {self._fresh_schedule}"

    def _replay(self, optimizer: Optimizer, make: SchedulerFn, num_steps: int) -> LRScheduler:
        """Return a new schedule at the step that it would have reached from the beginning."""
        self._begin_groups(optimizer, "initial_lr")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*before.*optimizer.step.*")
            scheduler = make(optimizer)
            for _ in range(num_steps):
                scheduler.step()
        return scheduler

    def _begin_groups(self, optimizer: Optimizer, rate: str) -> None:
        """Reset everything that a schedule may have changed to its value before the first step."""
        for group, own in zip(optimizer.param_groups, self.groups, strict=True):
            group.update({name: own[name] for name in ("momentum", "betas") if name in own})
            group["lr"] = own[rate]
            group.pop("initial_lr", None)


def _described(scheduler: LRScheduler) -> str:
    """Return everything that determines a schedule; torch omits the arguments of transformers' functions."""
    functions = scheduler.lr_lambdas if isinstance(scheduler, LambdaLR) else []
    arguments = [keywords for function in functions if (keywords := getattr(function, "keywords", None))]
    parts = [_described(part) for part in getattr(scheduler, "_schedulers", [])]
    return " ".join([repr(scheduler.state_dict()), *map(repr, arguments), *parts])


def _num_steps(scheduler: LRScheduler) -> int:
    parts = getattr(scheduler, "_schedulers", None)  # torch's ChainedScheduler has no count of its own
    return scheduler.last_epoch if hasattr(scheduler, "last_epoch") or not parts else _num_steps(parts[0])


def setting_differences(saved: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """Describe the settings that differ between two configurations.

    Args:
        saved: Settings of the checkpoint, nested by name.
        own: Settings of this run, nested by name.

    Example:
        >>> setting_differences({"loss": {"threshold": 0.7}}, {"loss": {"threshold": 0.5}})
        ['loss.threshold=0.5 (was 0.7)']
    """
    before, now = dict(_flat(saved)), dict(_flat(own))
    return [
        f"{name}={now.get(name)} (was {before.get(name)})"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if name.startswith("_"):
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
