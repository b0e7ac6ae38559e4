"""A setting that changes over the optimizer steps of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from lightning_gft.checks import check_choice, check_count, check_number

Shape = Literal["linear", "cosine"]


@dataclass(frozen=True)
class Annealing:
    """A value that moves from one number to another over a number of optimizer steps, and then stays there.

    Args:
        start: Value of the first optimizer step.
        end: Value once ``num_steps`` steps have been taken.
        num_steps: Number of optimizer steps from ``start`` to ``end``.
        shape: ``"linear"``, or ``"cosine"``, half a period of a cosine, which starts and ends slowly.

    Raises:
        ValueError: If a number is not finite, ``num_steps`` is below 1, or ``shape`` is unknown.
        TypeError: If a value that must be a number is none.

    Example:
        >>> mu = Annealing(start=0.9, end=0.1, num_steps=4, shape="linear")
        >>> [round(mu.at(step), 2) for step in range(6)]
        [0.9, 0.7, 0.5, 0.3, 0.1, 0.1]
    """

    start: float
    end: float
    num_steps: int
    shape: Shape = "cosine"

    def __post_init__(self) -> None:
        check_number("start", self.start, of="Annealing")
        check_number("end", self.end, of="Annealing")
        check_count("num_steps", self.num_steps, of="Annealing")
        check_choice("shape", self.shape, get_args(Shape), of="Annealing")

    def at(self, step: int) -> float:
        """Return the value of the update that follows ``step`` optimizer steps."""
        progress = min(step / self.num_steps, 1.0)
        if self.shape == "cosine":
            progress = (1 - math.cos(math.pi * progress)) / 2
        return self.start + (self.end - self.start) * progress
