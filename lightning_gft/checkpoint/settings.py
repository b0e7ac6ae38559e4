"""Settings of a run that goes on: what is configured wins over what a checkpoint remembers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

_PROGRESS = ("base_lrs", "last_epoch")  # what a schedule counts or is given, rather than told


class OptimizerSettings:
    """Settings of optimizer and schedule as configured, which win over those that a checkpoint remembers.

    Args:
        optimizer: As it was made.
        scheduler: As it was made.
    """

    def __init__(self, optimizer: Optimizer, scheduler: LRScheduler | None) -> None:
        self.name = f"{type(optimizer).__module__}.{type(optimizer).__qualname__}"
        self.groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
        self.schedule = {} if scheduler is None else _told(scheduler)
        self.schedule_name = None if scheduler is None else type(scheduler).__name__

    def describe(self) -> dict[str, str]:
        """Return both in words."""
        groups = [_words(self.name.rpartition(".")[2], group) for group in self.groups]
        described = {"optimizer": "; ".join(groups)}
        if self.schedule_name is not None:
            described["learning rate schedule"] = _words(self.schedule_name, self.schedule)
        return described

    def check(self, name: str | None) -> None:
        """Refuse the state of another optimizer.

        Args:
            name: The checkpoint's optimizer; ``None`` where nothing was trained.

        Raises:
            ValueError: If it is another one.
        """
        if name != self.name:
            raise ValueError(
                f"the checkpoint was written with the optimizer {name}, whose state is nothing to {self.name}: go on "
                "with the same one, or begin a new run from exported weights"
            )

    def restore(self, optimizer: Optimizer, scheduler: LRScheduler | None) -> None:
        """Set what a checkpoint has changed, but keep what has been counted.

        Args:
            optimizer: With the checkpoint's state.
            scheduler: Likewise.
        """
        for group, own in zip(optimizer.param_groups, self.groups, strict=True):
            if "initial_lr" in own and group.get("initial_lr"):  # there was a schedule, and there is one
                # Where the schedule stands, on another scale.
                group["lr"] *= own["initial_lr"] / group["initial_lr"]
                own = {name: value for name, value in own.items() if name != "lr"}
            group.update(own)
        if scheduler is not None:
            scheduler.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
            vars(scheduler).update(self.schedule)


def setting_differences(saved: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """Return the settings that differ between two configurations.

    Args:
        saved: The checkpoint's.
        own: This run's.

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


def _told(scheduler: LRScheduler) -> dict[str, Any]:
    """Return a schedule's own settings: plain values that it neither counts nor keeps to itself."""
    return {
        name: value
        for name, value in scheduler.state_dict().items()
        if not name.startswith("_") and name not in _PROGRESS and isinstance(value, int | float | str)
    }


def _words(name: str, settings: Mapping[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in settings.items() if value is not None)})"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if name.startswith("_"):
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
