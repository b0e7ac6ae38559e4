"""The age of the weights that drew the own samples."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_gft.metrics.base import ExactMetric
from lightning_gft.types import GroupBatch


class Staleness(ExactMetric):
    """Optimizer steps between the weights that drew an own sample and the weights at the start of training on it.

    As output of ``compute``, scalars since the last ``reset`` and over all ranks, of the own samples with a known
    version; absent if there are none:

    - ``sampling/staleness/mean``, ``sampling/staleness/max``
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    totals: Tensor
    largest: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("totals", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("largest", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="max")

    def update(self, groups: GroupBatch, steps: int) -> None:
        """Count sampled groups.

        Args:
            groups: Groups before the first update on them.
            steps: Number of optimizer steps of the policy so far.
        """
        if groups.weights_version is None:
            return
        known = groups.weights_version >= 0
        stale = (steps - groups.weights_version).double().masked_fill(~known, 0.0)
        self.totals += torch.stack([known.double().sum(), stale.sum()])
        self.largest = torch.cat([self.largest[None], stale]).amax()

    def compute(self) -> dict[str, Tensor]:
        """Return the statistics described above."""
        number, stale = self.totals
        if not number.item():
            return {}
        return {"sampling/staleness/mean": stale / number, "sampling/staleness/max": self.largest}
