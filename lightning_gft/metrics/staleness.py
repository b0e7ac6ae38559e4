"""How old the weights were that drew the own samples."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_gft.metrics.base import ExactMetric
from lightning_gft.types import GroupBatch


class Staleness(ExactMetric):
    """Optimizer steps between the weights that drew an own sample and those that training on it began with.

    As output of ``compute``, scalars over all own samples since the last ``reset`` and over all ranks, of which these
    steps are known; absent where they are of none:

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
            groups: About to be trained on.
            steps: Optimizer steps that the policy has taken.
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
