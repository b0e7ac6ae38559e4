"""Statistics of the difference between log-probabilities in training and at sampling."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_gft.metrics.base import ExactMetric
from lightning_gft.metrics.histogram import NUM_BINS, places, quantiles
from lightning_gft.types import Source, TokenBatch

_DIFFERENCE = "sampling/logprob_difference"
_NUM_SUMS = 2
"""Number of compared tokens, and the sum of their differences."""


class SamplingStatistics(ExactMetric):
    """The difference between log-probabilities in training and at sampling.

    As output of ``compute``, scalars since the last ``reset`` and over all ranks; absent if no token can be compared:

    - ``sampling/logprob_difference``, ``..._p50``, ``..._p99`` and ``..._max``: mean, median, 99th percentile and
      maximum of the absolute difference between the log-probabilities of the policy's own tokens in training and at
      sampling. More than rounding means that the rollout engine draws from another policy than the trained one. The
      median shows a difference of many tokens, the percentile one of few. Both are exact within 4.5%.

    Example:
        >>> statistics, one = SamplingStatistics(), torch.ones(3)
        >>> source, drawn = torch.tensor([Source.EXPERT, Source.SELF, Source.SELF]), torch.tensor([torch.nan, -1, -3])
        >>> statistics.update(TokenBatch(-one, one, source, one.long(), one.long(), one, sampling_logprobs=drawn))
        >>> {name: value.item() for name, value in statistics.compute().items()}
        {'sampling/logprob_difference': 1.0, 'sampling/logprob_difference_p50': 0.0,
        'sampling/logprob_difference_p99': 2.0, 'sampling/logprob_difference_max': 2.0}
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    counts: Tensor
    largest: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Sums and the histogram of differences are one state, which ranks exchange at once.
        self.add_state("counts", torch.zeros(_NUM_SUMS + NUM_BINS, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("largest", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="max")

    def update(self, tokens: TokenBatch) -> None:
        """Count the tokens of the first update on a batch; in later updates the policy has changed since sampling."""
        if tokens.sampling_logprobs is None:
            return
        known = (tokens.source == Source.SELF) & ~tokens.sampling_logprobs.isnan()
        drawn, now = tokens.sampling_logprobs.double(), tokens.logprobs.double()
        difference = (now - drawn).abs().masked_fill(~known | (now == drawn), 0.0)
        number = known.double()
        self.counts[:_NUM_SUMS] += torch.stack([number.sum(), difference.sum()])
        self.largest = torch.cat([self.largest[None], difference]).amax()
        self.counts[_NUM_SUMS:].index_add_(0, places(difference), number)

    def compute(self) -> dict[str, Tensor]:
        """Return the statistics described above."""
        (number, total), histogram = self.counts[:_NUM_SUMS], self.counts[_NUM_SUMS:]
        if not number.item():
            return {}
        p50, p99 = (quantiles(histogram, self.largest, share) for share in (0.5, 0.99))
        named = {"": total / number, "_p50": p50, "_p99": p99, "_max": self.largest}
        return {f"{_DIFFERENCE}{name}": value for name, value in named.items()}
