"""Statistics of token weights before and after their factors, over all tokens and by source."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.metrics.base import ExactMetric
from lightning_gft.metrics.histogram import NUM_BINS, places, quantiles
from lightning_gft.types import Source, TokenBatch

_LOWEST_LOGPROB = -600.0
"""Inverse probabilities are limited to e^600, so that sums of them stay within the fp64 range."""
_NUM_SUMS = 5
"""Sums per kind of tokens: number of tokens, number rectified, coefficients, weights before, weights after."""
_WIDTH = _NUM_SUMS + 2 * NUM_BINS


class CoefficientStatistics(ExactMetric):
    r"""Token weights ``1 / p`` of a likelihood gradient, before and after detached coefficients ``C(p)``.

    As input to ``update``:

    - ``logprobs`` (:class:`~torch.Tensor`): log-probabilities of the trained tokens, of any shape
    - ``coefficients`` (:class:`~torch.Tensor`): coefficients of these tokens, of the same shape; a token whose
      coefficient is NaN is not counted

    As output of ``compute``, scalars over all tokens since the last ``reset`` and over all ranks:

    - ``rectified_fraction``: share of tokens whose coefficient is not 1
    - ``coefficient_mean``: mean of ``C(p)``
    - ``inverse_probability_mean``, ``inverse_probability_p99``, ``inverse_probability_max``: mean, 99th percentile and
      maximum of ``1 / p``, the weight before rectification
    - ``rectified_weight_mean``, ``rectified_weight_p99``, ``rectified_weight_max``: mean, 99th percentile and maximum
      of ``|C(p)| / p``, the weight after rectification; it is 0 where ``C(p)`` underflows to 0

    The 99th percentiles are read from a histogram and accurate within 4.5%.

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

    counts: Tensor
    maxima: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Sums and both histograms are one state, so that ranks reduce them in one collective.
        self.add_state("counts", torch.zeros(self._num_kinds(), _WIDTH, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("maxima", torch.zeros(self._num_kinds(), 2, dtype=torch.float64), dist_reduce_fx="max")

    def update(self, logprobs: Tensor, coefficients: Tensor) -> None:
        """Count tokens with these log-probabilities and coefficients."""
        self._count(logprobs, coefficients)

    def compute(self) -> dict[str, Tensor]:
        """Return the statistics described above; all are 0 before the first token is counted."""
        return {name: value[0] for name, value in _figures(self.counts, self.maxima).items()}

    def _num_kinds(self) -> int:
        return 1

    def _count(self, logprobs: Tensor, coefficients: Tensor, kind: Tensor | int = 0) -> None:
        logprobs, coefficients = logprobs.detach().double().flatten(), coefficients.detach().double().flatten()
        known = ~(coefficients.isnan() | logprobs.isnan())
        number, coefficients = known.double(), coefficients.masked_fill(~known, 0.0)
        before = (-logprobs.clamp(min=_LOWEST_LOGPROB)).exp()
        weights = torch.stack([before, coefficients.abs() * before]).masked_fill(~known, 0.0)
        sums = torch.stack([number, number * (coefficients != 1), coefficients, *weights])
        # A flat one-dimensional index is fast on every device, and unlike `bincount` does not synchronise with a GPU.
        which = torch.arange(_NUM_SUMS, device=sums.device)[:, None]
        of_sums, of_bins = which.expand_as(sums), _NUM_SUMS + places(weights) + NUM_BINS * which[:2]
        index = torch.cat([of_sums, of_bins]) + _WIDTH * kind
        values = torch.cat([sums, number.expand_as(weights)])
        self.counts.view(-1).index_add_(0, index.flatten(), values.flatten())
        of_maxima = (which[:2] + 2 * kind).expand_as(weights)
        self.maxima.view(-1).scatter_reduce_(0, of_maxima.flatten(), weights.flatten(), "amax")


class CoefficientsBySource(CoefficientStatistics):
    """The statistics of :class:`CoefficientStatistics` for any loss: over all tokens, by source and by sign.

    As input to ``update``:

    - ``tokens`` (:class:`~lightning_gft.types.TokenBatch`): ``m`` trained tokens
    - ``factors`` (:class:`~torch.Tensor`): ``[m]``, see :meth:`lightning_gft.GroupLoss.factors`; a token with NaN is
      not counted
    - ``signed`` (bool): whether the loss uses advantages, so that their sign matters

    As output of ``compute``, scalars over all tokens since the last ``reset`` and over all ranks:

    - the figures of :class:`CoefficientStatistics`
    - each of these figures as ``<figure>_by_source/<source>``, for sources with tokens
    - ``rectified_fraction_by_source/<tokens>`` and ``coefficient_mean_by_source/<tokens>`` for ``<tokens>`` such as
      ``expert_positive`` or ``self_negative``, if ``signed`` is true and such tokens were counted

    Attributes:
        histograms: ``[sources, 2, bins]``, histograms of the weights before and after rectification over all ranks, as
            of the last ``compute``.

    Example:
        >>> statistics, source = CoefficientsBySource(), torch.tensor([Source.EXPERT, Source.SELF, Source.SELF])
        >>> one = torch.ones(3)
        >>> tokens = TokenBatch(-one, torch.tensor([1.0, -1.0, -1.0]), source, source, source, one)
        >>> statistics.update(tokens, torch.tensor([1.0, 1.0, 0.5]))
        >>> {name: value.item() for name, value in statistics.compute().items() if "fraction_by" in name}
        {'rectified_fraction_by_source/expert': 0.0, 'rectified_fraction_by_source/self': 0.5,
        'rectified_fraction_by_source/expert_positive': 0.0, 'rectified_fraction_by_source/self_negative': 0.5}
    """

    def __init__(self) -> None:
        super().__init__()
        self.histograms = torch.zeros(len(Source), 2, NUM_BINS)
        self._signed = True

    def update(self, tokens: TokenBatch, factors: Tensor, signed: bool = True) -> None:  # type: ignore[override]
        """Count the tokens of one update."""
        self._signed = signed
        self._count(tokens.logprobs, factors, 2 * tokens.source + (tokens.advantages < 0))

    def compute(self) -> dict[str, Tensor]:
        """Return the statistics described above, by name."""
        signs, maxima = self.counts.unflatten(0, (-1, 2)), self.maxima.unflatten(0, (-1, 2)).amax(dim=1)
        sources = signs.sum(dim=1)
        self.histograms = sources[:, _NUM_SUMS:].unflatten(1, (2, NUM_BINS))
        every = torch.cat([sources.sum(dim=0, keepdim=True), sources])
        all_figures = _figures(every, torch.cat([maxima.amax(dim=0, keepdim=True), maxima]))
        figures, by_sign = {name: value[0] for name, value in all_figures.items()}, dict[str, Tensor]()
        for source, numbers in zip(Source, signs[..., 0].tolist(), strict=True):  # the only device sync
            if any(numbers):
                figures |= {f"{name}_by_source/{_name(source)}": all_figures[name][1 + source] for name in all_figures}
            for sign, number in enumerate(numbers):
                if number and self._signed:
                    name = f"{_name(source)}_{('positive', 'negative')[sign]}"
                    by_sign[f"rectified_fraction_by_source/{name}"] = signs[source, sign, 1] / number
                    by_sign[f"coefficient_mean_by_source/{name}"] = signs[source, sign, 2] / number
        return {**figures, **by_sign}

    @override
    def _num_kinds(self) -> int:
        return 2 * len(Source)


def _name(source: Source) -> str:
    return source.name.lower()


def _figures(counts: Tensor, maxima: Tensor) -> dict[str, Tensor]:
    """Return figures ``[kinds]`` per kind of tokens, from counts ``[kinds, width]`` and maxima."""
    rectified, coefficient, *means = (counts[:, 1:_NUM_SUMS] / counts[:, :1].clamp(min=1)).unbind(dim=1)
    p99 = quantiles(counts[:, _NUM_SUMS:].unflatten(1, (2, NUM_BINS)), maxima, 0.99)
    figures = {"rectified_fraction": rectified, "coefficient_mean": coefficient}
    for weight, name in enumerate(("inverse_probability", "rectified_weight")):
        figures |= {f"{name}_mean": means[weight], f"{name}_p99": p99[:, weight], f"{name}_max": maxima[:, weight]}
    return figures
