"""Statistics of importance weights, which correct a loss for the policy that drew the samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_gft.metrics.base import ExactMetric


class CorrectionStatistics(ExactMetric):
    """Importance weights of own tokens or own responses, and the shares that are truncated or unknown.

    As input to ``update``:

    - ``weights`` (:class:`~torch.Tensor`): ``[n]``, one per own token or per own response, after truncation; NaN where
      unknown
    - ``truncated`` (:class:`~torch.Tensor`): ``[n]`` booleans, true where a weight is truncated

    As output of ``compute``, scalars since the last ``reset`` and over all ranks, 0 before the first weight is counted:

    - ``sampling/importance_sampling_ratio/min``, ``.../mean``, ``.../max``: minimum, mean and maximum of the known
      weights after truncation, as in TRL
    - ``sampling/importance_sampling_ratio/truncated_fraction``: share of known weights that are truncated
    - ``sampling/importance_sampling_ratio/unknown_fraction``: share of all weights that are unknown

    Args:
        kwargs: Options of :class:`torchmetrics.Metric`.

    Example:
        >>> statistics = CorrectionStatistics()
        >>> statistics.update(torch.tensor([0.5, 2.0, torch.nan]), torch.tensor([False, True, False]))
        >>> {name.rpartition("/")[2]: round(value.item(), 2) for name, value in statistics.compute().items()}
        {'min': 0.5, 'mean': 1.25, 'max': 2.0, 'truncated_fraction': 0.5, 'unknown_fraction': 0.33}
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    sums: Tensor
    extremes: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # totals: numbers of all, known and truncated weights, and the sum; the extremes are maxima of -weight, weight.
        self.add_state("sums", torch.zeros(4, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("extremes", torch.full((2,), -torch.inf, dtype=torch.float64), dist_reduce_fx="max")

    def update(self, weights: Tensor, truncated: Tensor) -> None:
        """Count the weights of own tokens or own responses."""
        weights = weights.detach().double()
        known = ~weights.isnan()
        terms = torch.ones_like(weights), known.double(), (known & truncated).double(), weights.masked_fill(~known, 0.0)
        self.sums += torch.stack(terms).sum(dim=1)
        nothing = weights.new_full((2, 1), -torch.inf)
        extremes = torch.stack([-weights, weights]).masked_fill(~known, -torch.inf)
        self.extremes = torch.maximum(self.extremes, torch.cat([nothing, extremes], dim=1).amax(dim=1))

    def compute(self) -> dict[str, Tensor]:
        """Return the statistics described above."""
        number, known, truncated, total = self.sums
        least, largest = self.extremes.where(known > 0, 0.0)
        figures = {
            "min": -least,
            "mean": total / known.clamp(min=1),
            "max": largest,
            "truncated_fraction": truncated / known.clamp(min=1),
            "unknown_fraction": (number - known) / number.clamp(min=1),
        }
        return {f"sampling/importance_sampling_ratio/{name}": value for name, value in figures.items()}
