"""Schedules of torch and transformers with their own arguments; a length that is left out is that of the run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields, make_dataclass
from functools import cache
from itertools import pairwise
from typing import Any, ClassVar, get_type_hints

from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler
from typing_extensions import override

from lightning_gft.errors import GFTValueError
from lightning_gft.schedules.base import Length, Schedule, SchedulerFn, as_schedule

_LENGTHS = ("T_max", "num_training_steps", "total_iters", "total_steps")
_OTHER_LENGTHS = {"num_training_steps": "num_stable_steps", "total_steps": "epochs"}
"""Arguments that define a length in another way."""

_LEFT_OUT = ("optimizer", "last_epoch")  # checkpoints handle resuming

_OF_TORCH = ("CosineAnnealingLR", "LinearLR", "OneCycleLR", "PolynomialLR")  # schedules that last as long as a run
_OF_TRANSFORMERS = (
    "get_constant_schedule",
    "get_constant_schedule_with_warmup",
    "get_cosine_schedule_with_warmup",
    "get_cosine_with_hard_restarts_schedule_with_warmup",
    "get_cosine_with_min_lr_schedule_with_warmup",
    "get_inverse_sqrt_schedule",
    "get_linear_schedule_with_warmup",
    "get_polynomial_decay_schedule_with_warmup",
    "get_wsd_schedule",
)
BORROWED = (*_OF_TORCH, *_OF_TRANSFORMERS)
"""Names of these schedules in torch and transformers."""


class BorrowedSchedule(Schedule):
    """A schedule of torch or transformers with its own arguments; a length that is missing or null is the run's."""

    factory: ClassVar[Callable[..., LRScheduler]]

    @override
    def make(self, optimizer: Optimizer, num_steps: Length) -> LRScheduler:
        arguments = {name: value for name, value in vars(self).items() if value is not None}
        for field in fields(self):  # type: ignore[arg-type] # each class built below is a dataclass
            if field.name in _LENGTHS and not {field.name, _OTHER_LENGTHS.get(field.name)} & arguments.keys():
                arguments[field.name] = num_steps()
        return type(self).factory(optimizer, **arguments)


@cache
def borrow(name: str) -> type[BorrowedSchedule]:
    """Return a class with the arguments of a schedule's factory, except the optimizer; lengths may be left out.

    Example:
        >>> borrow("CosineAnnealingLR")(eta_min=0.1)
        CosineAnnealingLR(T_max=None, eta_min=0.1)
    """
    factory = _factory(name)
    hints = get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    arguments: list[tuple[Any, ...]] = []
    for parameter in inspect.signature(factory).parameters.values():
        if parameter.name in _LEFT_OUT:
            continue
        default = () if parameter.default is parameter.empty else (parameter.default,)
        hint = hints.get(parameter.name, type(*default) if default else int)
        is_length = parameter.name in _LENGTHS
        arguments.append((parameter.name, hint | None, None) if is_length else (parameter.name, hint, *default))
    body = {"factory": staticmethod(factory), "__doc__": factory.__doc__}
    made = make_dataclass(name, arguments, bases=(BorrowedSchedule,), namespace=body, kw_only=True)
    made.__module__ = "lightning_gft.schedules"
    return made


def _factory(name: str) -> Any:
    if name in _OF_TORCH:
        return getattr(lr_scheduler, name)
    import transformers.optimization  # imports peft, which imports bitsandbytes

    return getattr(transformers.optimization, name)


class SequentialLR(Schedule):
    """Schedules one after another, like torch's ``SequentialLR``; each lasts until the next milestone or the end.

    Args:
        schedulers: Schedules, or functions from an optimizer to one. A length that is left out is the schedule's own
            part of the run.
        milestones: Optimizer steps at which the second schedule begins, the third, and so on.

    Example:
        >>> from torch import nn
        >>> from torch.optim import SGD
        >>> from lightning_gft.schedules import CosineAnnealingLR, LinearLR
        >>> schedule = SequentialLR([LinearLR(start_factor=0.5), CosineAnnealingLR()], milestones=[2])
        >>> scheduler = schedule.make(SGD(nn.Linear(1, 1).parameters(), lr=1.0), lambda: 6)
        >>> [made.state_dict().get("total_iters", made.state_dict().get("T_max")) for made in scheduler._schedulers]
        [2, 4]
    """

    def __init__(self, schedulers: Sequence[Schedule | SchedulerFn], milestones: Sequence[int]) -> None:
        self.schedules = [as_schedule(given) for given in schedulers]
        self.milestones = list(milestones)
        if len(self.milestones) != len(self.schedules) - 1 or any(b <= a for a, b in pairwise([0, *self.milestones])):
            raise GFTValueError(
                f"`lr_scheduler.milestones`: expected {max(len(self.schedules) - 1, 0)} increasing optimizer steps for "
                f"{len(self.schedules)} schedulers, got {self.milestones}; give the step at which each "
                "schedule after the first begins"
            )

    @override
    def make(self, optimizer: Optimizer, num_steps: Length) -> LRScheduler:
        begins = [0, *self.milestones]

        def lasts(number: int) -> int:
            end = self.milestones[number] if number < len(self.milestones) else num_steps()
            return max(end - begins[number], 1)  # a run may end before the last schedule begins

        made = [each.make(optimizer, lambda n=n: lasts(n)) for n, each in enumerate(self.schedules)]  # type: ignore[misc]
        return lr_scheduler.SequentialLR(optimizer, made, self.milestones)


class ChainedScheduler(Schedule):
    """Simultaneous schedules whose factors are multiplied, like torch's ``ChainedScheduler``.

    Args:
        schedulers: Schedules, or functions from an optimizer to one. A length that is left out is that of the run.

    Raises:
        ValueError: When training starts, if one sets the learning rate instead of scaling it.
    """

    def __init__(self, schedulers: Sequence[Schedule | SchedulerFn]) -> None:
        self.schedules = [as_schedule(given) for given in schedulers]

    @override
    def make(self, optimizer: Optimizer, num_steps: Length) -> LRScheduler:
        made = [each.make(optimizer, num_steps) for each in self.schedules]
        for one in made:  # the factors of earlier schedules would be lost
            if isinstance(one, lr_scheduler.LambdaLR | lr_scheduler.OneCycleLR) and len(made) > 1:
                raise GFTValueError(
                    "`lr_scheduler.schedulers`: expected schedules that scale the learning rate step by step, got a "
                    f"{type(one).__name__}, which sets it regardless of the others, like those of transformers; use "
                    "schedules of torch"
                )
        return lr_scheduler.ChainedScheduler(made, optimizer)


_HOMES = ("torch.optim.lr_scheduler.", "torch.optim.", "transformers.", "transformers.optimization.")
_RENAMED = {
    f"{home}{name}": f"lightning_gft.schedules.{name}"
    for name in (*BORROWED, "SequentialLR", "ChainedScheduler")
    for home in _HOMES
}


def borrow_schedules(config: Any) -> Any:
    """Return a configuration in which schedules of torch and transformers are replaced by those of this package.

    A command line can neither pass them an optimizer nor leave out a length.

    Args:
        config: Parsed YAML: a whole file, or a value of the command line.

    Example:
        >>> borrow_schedules({"class_path": "torch.optim.lr_scheduler.CosineAnnealingLR"})
        {'class_path': 'lightning_gft.schedules.CosineAnnealingLR'}
    """
    if isinstance(config, str):
        return _RENAMED.get(config, config)
    if isinstance(config, list):
        return [borrow_schedules(entry) if isinstance(entry, dict | list) else entry for entry in config]
    if not isinstance(config, dict):
        return config
    return {
        name: borrow_schedules(value) if name == "class_path" or isinstance(value, dict | list) else value
        for name, value in config.items()
    }
