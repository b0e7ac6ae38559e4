"""Warm-up and decay over the length of the run, by transformers' names."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

from lightning.pytorch.utilities import rank_zero_warn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from typing_extensions import override

from lightning_gft.checks import check_choice, check_count, check_number
from lightning_gft.errors import GFTValueError, named
from lightning_gft.schedules.base import Length, Schedule

Shape = Literal["cosine", "linear", "constant", "inverse_sqrt", "warmup_stable_decay"]

_NAMES = {"cosine": "cosine_with_min_lr", "constant": "constant_with_warmup"}
"""Names of shapes in transformers, where they differ."""


class WarmupSchedule(Schedule):
    """Linear warm-up from 0 to the optimizer's learning rate, then a decay that ends with the run.

    The schedules are those of :func:`transformers.get_scheduler`, except ``linear``, which may end above 0. The number
    of training steps is the run's, from ``max_steps`` or from ``max_epochs``, batches and ``updates_per_batch``.

    Args:
        name: Shape after the warm-up: ``cosine`` or ``linear`` decay, ``constant``, ``inverse_sqrt``
            (``sqrt(warmup_steps / step)``), or ``warmup_stable_decay``, constant until a cosine decay at the end.
        warmup_steps: Optimizer steps of the warm-up.
        warmup_ratio: Length of the warm-up as a fraction of the run, between 0 and 1; used if ``warmup_steps`` is 0.
        min_lr_ratio: Learning rate at the end of ``cosine``, ``linear`` and ``warmup_stable_decay``, as a fraction of
            the optimizer's. The warm-up of ``warmup_stable_decay`` begins there too.
        decay_ratio: Length of the decay of ``warmup_stable_decay``, as a fraction of the run.

    Raises:
        ValueError: If a number is out of range, or has no effect on the shape.

    Example:
        >>> from torch import nn
        >>> from torch.optim import SGD
        >>> optimizer = SGD(nn.Linear(1, 1).parameters(), lr=1.0)
        >>> scheduler = WarmupSchedule("linear", warmup_steps=2).make(optimizer, lambda: 6)
        >>> rates = []
        >>> for _ in range(7):
        ...     rates.append(scheduler.get_last_lr()[0])
        ...     optimizer.step()
        ...     scheduler.step()
        >>> rates
        [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0]
    """

    def __init__(
        self,
        name: Shape = "cosine",
        warmup_steps: int = 0,
        warmup_ratio: float = 0.0,
        min_lr_ratio: float = 0.0,
        decay_ratio: float = 0.2,
    ) -> None:
        check_choice("lr_scheduler.name", name, get_args(Shape))
        if warmup_steps and warmup_ratio:
            raise GFTValueError(
                f"`lr_scheduler.warmup_ratio`: expected 0 beside warmup_steps={warmup_steps}, got {warmup_ratio}; give "
                "one of the two"
            )
        if min_lr_ratio and name in ("constant", "inverse_sqrt"):
            raise GFTValueError(
                f"`lr_scheduler.min_lr_ratio`: expected 0 with {name}, which has no end, got {min_lr_ratio}; leave it "
                "out"
            )
        self.name = name
        self.warmup_steps = check_count("lr_scheduler.warmup_steps", warmup_steps, least=0)
        self.warmup_ratio = check_number("lr_scheduler.warmup_ratio", warmup_ratio, least=0, most=1)
        self.min_lr_ratio = check_number("lr_scheduler.min_lr_ratio", min_lr_ratio, least=0, most=1)
        self.decay_ratio = check_number("lr_scheduler.decay_ratio", decay_ratio, least=0, most=1)

    @override
    def make(self, optimizer: Optimizer, num_steps: Length) -> LRScheduler:
        decays = self.name not in ("constant", "inverse_sqrt")
        total = num_steps() if decays or self.warmup_ratio else None
        warmup = self.warmup_steps or math.ceil(self.warmup_ratio * (total or 0))
        if total is not None and warmup >= total:
            option = "warmup_steps" if self.warmup_steps else "warmup_ratio"
            rank_zero_warn(
                named(
                    f"`lr_scheduler`: the warm-up takes {warmup} optimizer steps and the whole schedule {total}, so "
                    f"the learning rate never reaches the optimizer's; lower {option}, or raise max_steps"
                )
            )
        if self.name == "linear":  # transformers has no linear decay that ends above 0 and accepts every learning rate
            return LambdaLR(optimizer, lambda step: self._linear(step, warmup, total or 0))
        from transformers import get_scheduler  # slow, since it imports peft

        settings: dict[str, Any] = {}
        if self.name == "cosine":
            settings = {"min_lr_rate": self.min_lr_ratio}
        elif self.name == "warmup_stable_decay":
            decay = min(math.ceil(self.decay_ratio * (total or 0)), max((total or 0) - warmup, 0))
            settings = {"num_decay_steps": decay, "min_lr_ratio": self.min_lr_ratio}
        scheduler: LRScheduler = get_scheduler(
            _NAMES.get(self.name, self.name), optimizer, warmup, total, scheduler_specific_kwargs=settings
        )
        return scheduler

    def _linear(self, step: int, warmup: int, total: int) -> float:
        if step < warmup:
            return step / warmup
        left = max(total - step, 0) / max(total - warmup, 1)
        return self.min_lr_ratio + (1 - self.min_lr_ratio) * left
