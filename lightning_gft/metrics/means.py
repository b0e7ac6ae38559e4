"""Means by name, reduced over ranks at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_gft.errors import GFTValueError
from lightning_gft.metrics.base import ExactMetric

Totals = dict[str, tuple[float, float]]
"""Sum and number of what is averaged, by the names of figures."""


class NamedMeans(ExactMetric):
    """Means of different things, each over its own number of them, since the last ``reset`` and over all ranks.

    Args:
        names: All names that there may be, the same on every rank.
        always: Those that are 0 where nothing was counted, instead of absent.
        sums: Those that are sums instead of means.
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
        """Count sums and numbers; a name that is absent counts nothing.

        Raises:
            ValueError: If a name is not one of those that there may be.
        """
        if unknown := totals.keys() - self.names:
            raise GFTValueError(f"`totals`: expected names among {', '.join(self.names)}, got {', '.join(unknown)}")
        columns = [totals.get(name, (0.0, 0.0)) for name in self.names]
        self.totals += torch.tensor(columns, dtype=torch.float64).T.to(self.totals.device, non_blocking=True)

    def compute(self) -> dict[str, Tensor]:
        """Return the means by their names."""
        counts = self.totals[1].tolist()  # the device is waited for once
        sums = self.totals[0]
        means = sums / self.totals[1].clamp(min=1)
        return {
            name: sums[n] if name in self.sums else means[n]
            for n, name in enumerate(self.names)
            if counts[n] or name in self.always
        }
