"""Statistics of the weights that coefficients leave of the inverse probability."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_gft.metrics.base import ExactMetric

_LOWEST_LOGPROB = -600.0
"""Inverse probabilities are counted up to e^600, which leaves their sum room within the fp64 range."""


class CoefficientStatistics(ExactMetric):
    r"""What detached coefficients ``C(p)`` make of the weight ``1 / p`` that a likelihood gradient puts on a token.

    As input to ``update``:

    - ``logprobs`` (:class:`~torch.Tensor`): log-probabilities of the trained tokens, of any shape
    - ``coefficients`` (:class:`~torch.Tensor`): those used for them, same shape; a token with NaN is not counted

    As output of ``compute``, scalars over all tokens since the last ``reset`` and over all ranks:

    - ``rectified_fraction``: share of tokens whose coefficient is not 1
    - ``coefficient_mean``: mean of ``C(p)``
    - ``inverse_probability_mean``, ``inverse_probability_max``: of ``1 / p``, the weight before rectification
    - ``rectified_weight_mean``, ``rectified_weight_max``: of ``C(p) / p``, the weight after it; 0 where ``C(p)``
      underflows to 0

    Args:
        kwargs: Passed on to :class:`torchmetrics.Metric`.

    Example:
        >>> statistics = CoefficientStatistics()
        >>> statistics.update(torch.tensor([0.5, 0.1]).log(), torch.tensor([1.0, 0.1]))
        >>> statistics.compute()["rectified_weight_max"]
        tensor(2.0000, dtype=torch.float64)
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    num_tokens: Tensor
    num_rectified: Tensor
    coefficient_sum: Tensor
    inverse_sum: Tensor
    weight_sum: Tensor
    inverse_max: Tensor
    weight_max: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("num_tokens", "num_rectified"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")
        for name in ("coefficient_sum", "inverse_sum", "weight_sum"):
            self.add_state(name, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("inverse_max", "weight_max"):
            self.add_state(name, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="max")

    def update(self, logprobs: Tensor, coefficients: Tensor) -> None:
        """Count tokens with these log-probabilities and coefficients."""
        self._count(logprobs.detach(), coefficients.detach())

    def compute(self) -> dict[str, Tensor]:
        """Return the statistics described above; all are 0 before any token was counted."""
        tokens = self.num_tokens.clamp(min=1)
        return {
            "rectified_fraction": self.num_rectified / tokens,
            "coefficient_mean": self.coefficient_sum / tokens,
            "inverse_probability_mean": self.inverse_sum / tokens,
            "inverse_probability_max": self.inverse_max,
            "rectified_weight_mean": self.weight_sum / tokens,
            "rectified_weight_max": self.weight_max,
        }

    def _count(self, logprobs: Tensor, coefficients: Tensor) -> None:
        if not logprobs.numel():
            return
        known = ~coefficients.isnan()
        coefficients = coefficients.double().masked_fill(~known, 0.0)
        inverse = (-logprobs.double().clamp(min=_LOWEST_LOGPROB)).exp().masked_fill(~known, 0.0)
        weight = coefficients * inverse
        self.num_tokens += known.sum()
        self.num_rectified += (known & (coefficients != 1)).sum()
        self.coefficient_sum += coefficients.sum()
        self.inverse_sum += inverse.sum()
        self.weight_sum += weight.sum()
        self.inverse_max = torch.maximum(self.inverse_max, inverse.max())
        self.weight_max = torch.maximum(self.weight_max, weight.max())
