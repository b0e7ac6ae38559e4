"""A mean in double precision."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_gft.metrics.base import ExactMetric


class ExactMean(ExactMetric):
    """The mean of all values since the last ``reset``, over all ranks; 0 without any value.

    Args:
        kwargs: Passed on to :class:`torchmetrics.Metric`.

    Example:
        >>> mean = ExactMean()
        >>> mean.update(torch.tensor([1.0, 2.0]))
        >>> mean.update(torch.tensor([6.0]))
        >>> mean.compute()
        tensor(3., dtype=torch.float64)
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        """Count values of any shape and data type."""
        self.total += values.detach().double().sum()
        self.count += values.numel()

    def compute(self) -> Tensor:
        """Return the mean as a scalar in double precision."""
        return self.total / self.count.clamp(min=1)
