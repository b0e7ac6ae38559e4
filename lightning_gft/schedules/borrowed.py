"""The schedules of torch and transformers, with the same arguments, whose missing lengths are the run's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, ClassVar, get_type_hints

import transformers.optimization as hugging_face
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler
from typing_extensions import override

from lightning_gft.errors import GFTValueError
from lightning_gft.schedules.base import Length, Schedule, SchedulerFn, as_schedule

_LENGTHS = ("T_max", "num_training_steps", "total_iters", "total_steps")
_OTHER_LENGTHS = {"num_training_steps": "num_stable_steps", "total_steps": "epochs"}
"""Arguments that say a length in another way."""

_LEFT_OUT = ("optimizer", "last_epoch")  # resuming is the checkpoint's concern


class BorrowedSchedule(Schedule):
    """A schedule of torch or transformers, by its own arguments; a length that is missing or null is the run's."""

    factory: ClassVar[Callable[..., LRScheduler]]

    def __init__(self, **arguments: Any) -> None:
        inspect.signature(type(self)).bind(**arguments)
        self.arguments = {name: value for name, value in arguments.items() if value is not None}

    @override
    def make(self, optimizer: Optimizer, num_steps: Length) -> LRScheduler:
        arguments = dict(self.arguments)
        for name in inspect.signature(type(self)).parameters:
            if name in _LENGTHS and not {name, _OTHER_LENGTHS.get(name)} & arguments.keys():
                arguments[name] = num_steps()
        return type(self).factory(optimizer, **arguments)


def _borrow(factory: Callable[..., LRScheduler]) -> type[BorrowedSchedule]:
    """Return a class with the arguments of a function or class that makes a schedule."""
    hints = get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    parameters = []
    for name, parameter in inspect.signature(factory).parameters.items():
        if name in _LEFT_OUT:
            continue
        hint = hints.get(name, type(parameter.default) if parameter.default is not inspect.Parameter.empty else int)
        if name in _LENGTHS:
            parameter, hint = parameter.replace(default=None), hint | None
        parameters.append(parameter.replace(annotation=hint, kind=inspect.Parameter.KEYWORD_ONLY))

    def init(self: BorrowedSchedule, **arguments: Any) -> None:
        BorrowedSchedule.__init__(self, **arguments)

    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    init.__signature__ = inspect.Signature([own, *parameters])  # type: ignore[attr-defined]
    init.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    name = factory.__name__
    body = {"__init__": init, "__module__": "lightning_gft.schedules", "__doc__": factory.__doc__}
    return type(name, (BorrowedSchedule,), {**body, "factory": staticmethod(factory)})


class SequentialLR(Schedule):
    """Schedules one after another, as torch's of this name; each lasts until the next milestone, the last to the end.

    Args:
        schedulers: Schedules, or functions from an optimizer to one. A missing length of one is the time that it has.
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
                f"lr_scheduler.milestones: expected {max(len(self.schedules) - 1, 0)} growing optimizer steps for "
                f"{len(self.schedules)} schedulers, got {self.milestones}"
            )

    @override
    def make(self, optimizer: Optimizer, num_steps: Length) -> LRScheduler:
        begins = [0, *self.milestones]

        def lasts(number: int) -> int:
            end = self.milestones[number] if number < len(self.milestones) else num_steps()
            return max(end - begins[number], 1)  # a run may end before the last begins

        made = [each.make(optimizer, lambda n=n: lasts(n)) for n, each in enumerate(self.schedules)]  # type: ignore[misc]
        return lr_scheduler.SequentialLR(optimizer, made, self.milestones)


class ChainedScheduler(Schedule):
    """Schedules at the same time, whose factors are multiplied, as torch's of this name.

    Args:
        schedulers: Schedules, or functions from an optimizer to one. A missing length is the run's.

    Raises:
        ValueError: When training starts, if one sets the learning rate instead of scaling it.
    """

    def __init__(self, schedulers: Sequence[Schedule | SchedulerFn]) -> None:
        self.schedules = [as_schedule(given) for given in schedulers]

    @override
    def make(self, optimizer: Optimizer, num_steps: Length) -> LRScheduler:
        made = [each.make(optimizer, num_steps) for each in self.schedules]
        for one in made:  # what comes before it would be lost
            if isinstance(one, lr_scheduler.LambdaLR | lr_scheduler.OneCycleLR) and len(made) > 1:
                raise GFTValueError(
                    "lr_scheduler.schedulers: expected schedules that scale the learning rate step by step, got a "
                    f"{type(one).__name__}, as those of transformers are, which sets it whatever the others do"
                )
        return lr_scheduler.ChainedScheduler(made, optimizer)


_OF_TORCH = ("CosineAnnealingLR", "LinearLR", "OneCycleLR", "PolynomialLR")  # those that last as long as a run
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

BORROWED: dict[str, type[Schedule]] = {
    **{name: _borrow(getattr(lr_scheduler, name)) for name in _OF_TORCH},
    **{name: _borrow(getattr(hugging_face, name)) for name in _OF_TRANSFORMERS},
    "SequentialLR": SequentialLR,
    "ChainedScheduler": ChainedScheduler,
}
"""By the names that torch and transformers give them."""

_HOMES = ("torch.optim.lr_scheduler.", "torch.optim.", "transformers.", "transformers.optimization.")
_RENAMED = {f"{home}{name}": f"lightning_gft.schedules.{name}" for name in BORROWED for home in _HOMES}


def borrow_schedules(config: Any) -> Any:
    """Return a configuration in which the schedules of torch and transformers are the ones of this package.

    A command line can neither hand them an optimizer nor leave out a length.

    Args:
        config: As read from YAML: a whole file, or a value of the command line.

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
