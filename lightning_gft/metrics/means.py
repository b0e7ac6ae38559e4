"""Means by name, which are reduced over ranks in one collective."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_gft.errors import GFTValueError
from lightning_gft.metrics.base import ExactMetric

Totals = dict[str, tuple[float, float]]
"""The sum and the number of the averaged values, by the names of figures."""


class NamedMeans(ExactMetric):
    """Means by name, each over its own number of values, since the last ``reset`` and over all ranks.

    Args:
        names: All allowed names, the same on every rank.
        always: Names that are reported as 0 if they have no values, instead of omitted.
        sums: Names whose sum is reported instead of the mean.
        kwargs: Passed on to :class:`torchmetrics.Metric`.

    Example:
        >>> means = NamedMeans(["length", "reward"])
        >>> means.update({"length": (10.0, 4.0)})
        >>> means.compute()
        {'length': tensor(2.5000, dtype=torch.float64)}
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    totals: Tensor

    def __init__(
        self, names: Sequence[str], always: Collection[str] = (), sums: Collection[str] = (), **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.names, self.always, self.sums = [*names], frozenset(always), frozenset(sums)
        self.add_state("totals", torch.zeros(2, len(self.names), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, totals: Mapping[str, tuple[float, float]]) -> None:
        """Add sums and numbers to those of their names; other names are unchanged.

        Raises:
            ValueError: If a name is not among ``names``.
        """
        if unknown := totals.keys() - self.names:
            raise GFTValueError(
                f"`totals`: expected names among {', '.join(self.names)}, got {', '.join(unknown)}; add them to `names`"
            )
        columns = [totals.get(name, (0.0, 0.0)) for name in self.names]
        self.totals += torch.tensor(columns, dtype=torch.float64).T.to(self.totals.device, non_blocking=True)

    def compute(self) -> dict[str, Tensor]:
        """Return the means and sums by name."""
        counts = self.totals[1].tolist()  # the only device sync
        sums = self.totals[0]
        means = sums / self.totals[1].clamp(min=1)
        return {
            name: sums[n] if name in self.sums else means[n]
            for n, name in enumerate(self.names)
            if counts[n] or name in self.always
        }
