"""Statistics of coefficients: of the weights that they leave of the inverse probability, and by source."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_gft.metrics.base import ExactMetric
from lightning_gft.types import Source, TokenBatch

_KINDS = [f"{source.name.lower()}_{sign}" for source in Source for sign in ("positive", "negative")]
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


class CoefficientsBySource(ExactMetric):
    """What detached coefficients did to the tokens of each source, those with positive and negative advantages apart.

    As input to ``update``:

    - ``tokens`` (:class:`~lightning_gft.types.TokenBatch`): ``m`` trained tokens
    - ``coefficients`` (:class:`~torch.Tensor`): ``[m]``, without the advantage; a token with NaN is not counted

    As output of ``compute``, scalars over all tokens since the last ``reset`` and over all ranks, for ``<tokens>`` such
    as ``expert_positive`` or ``self_negative``, where there were any:

    - ``rectified_fraction_by_source/<tokens>``: share of tokens whose coefficient is not 1
    - ``coefficient_mean_by_source/<tokens>``: mean of ``C(p)``

    Example:
        >>> statistics, source = CoefficientsBySource(), torch.tensor([Source.EXPERT, Source.SELF, Source.SELF])
        >>> one = torch.ones(3)
        >>> tokens = TokenBatch(-one, torch.tensor([1.0, -1.0, -1.0]), source, source, source, one)
        >>> statistics.update(tokens, torch.tensor([1.0, 1.0, 0.5]))
        >>> {name: value.item() for name, value in statistics.compute().items() if "fraction" in name}
        {'rectified_fraction_by_source/expert_positive': 0.0, 'rectified_fraction_by_source/self_negative': 0.5}
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        # One state, which ranks exchange at once: number of tokens, of those rectified, and sum of coefficients.
        self.add_state("sums", torch.zeros(3, len(_KINDS), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        """Count the tokens of one update."""
        known = ~coefficients.isnan()
        kind = 2 * tokens.source + (tokens.advantages < 0)
        counts = (known, known & (coefficients != 1), coefficients.masked_fill(~known, 0.0))
        self.sums.index_add_(1, kind, torch.stack([count.double() for count in counts]))

    def compute(self) -> dict[str, Tensor]:
        """Return the statistics described above."""
        statistics = {}
        _, rectified, coefficient = self.sums / self.sums[0]
        for kind, (name, number) in enumerate(zip(_KINDS, self.sums[0].tolist(), strict=True)):
            if number:
                statistics[f"rectified_fraction_by_source/{name}"] = rectified[kind]
                statistics[f"coefficient_mean_by_source/{name}"] = coefficient[kind]
        return statistics
