"""A setting of an objective that may change during training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from lightning_gft.annealing import Annealing
from lightning_gft.checks import check_number


class Annealed(nn.Module):
    """A number, constant or following an :class:`~lightning_gft.Annealing`; checkpoints hold its count of steps.

    Args:
        field: Name of the option, for errors.
        value: A constant, or the schedule that the number follows.
        of: Name of the class that has the option, for errors.
        least: Smallest allowed value, inclusive.
        most: Largest allowed value, inclusive.

    Attributes:
        now: Value for the next update. It is a Python number, so reading it does not synchronise with a GPU.
        last: Value of the last update.

    Raises:
        ValueError: If the constant, or the schedule's start or end, is outside the range.

    Example:
        >>> mu = Annealed("mu", Annealing(0.9, 0.1, num_steps=4, shape="linear"), "CHORDLoss", least=0, most=1)
        >>> mu.step()
        >>> mu.last, round(mu.now, 2)
        (0.9, 0.7)
    """

    num_steps: Tensor

    def __init__(self, field: str, value: float | Annealing, of: str, least: float, most: float) -> None:
        super().__init__()
        self.value = value
        ends = {"start": value.start, "end": value.end} if isinstance(value, Annealing) else {"": value}
        for name, number in ends.items():
            check_number((name and f"{field}.{name}") or field, number, least=least, most=most, of=of)
        self.schedule = value if isinstance(value, Annealing) else Annealing(value, value, num_steps=1)
        self.register_buffer("num_steps", torch.tensor(0))
        self.now = self.last = self.schedule.at(0)

    def step(self) -> None:
        """Advance the schedule by one optimizer step."""
        self.last = self.now
        self.num_steps += 1
        self.now = self.schedule.at(int(self.num_steps))

    @override
    def __repr__(self) -> str:
        return repr(self.value)

    @override
    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.now = self.schedule.at(int(self.num_steps))
