"""A coefficient rectifier whose threshold adapts to the model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_number
from lightning_gft.functional import check_threshold, rectified_coefficients
from lightning_gft.rectifiers.base import CoefficientRectifier

_NONE_OR_ALL = (
    "to rectify no token use IdentityRectifier, to rectify all use DynamicCoefficientRectifier(threshold=2.0)"
)
_LOGIT_RANGE = 40.0
_NUM_BINS = 8192
"""Bins of the log-odds of token probabilities, from -40 to 40: about 0.01 wide, as fine near 0 and 1 as between."""


class AdaptiveCoefficientRectifier(CoefficientRectifier):
    """The paper's rectification with a threshold that keeps a chosen share of tokens rectified.

    The right threshold depends on the model's confidence, which differs between models and changes during training.
    After every optimizer step the threshold moves towards the ``rectified_fraction`` quantile of the step's token
    probabilities over all ranks. Checkpoints save the threshold. ``reset`` clears the statistics but not the threshold,
    which steers training; call ``step`` before it.

    Args:
        rectified_fraction: Share of tokens to rectify, between 0 and 1.
        momentum: Weight of the previous threshold, from 0 (follow each step) to just below 1. The first step sets the
            threshold to its quantile.
        initial_threshold: Threshold of the first step alone, near the paper's best; no later one depends on it.
        kwargs: Passed on to :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If a number is out of range.
        TypeError: If a value is not a number.

    Example:
        >>> rectifier = AdaptiveCoefficientRectifier(rectified_fraction=0.25)
        >>> rectifier.update(torch.tensor([0.2, 0.4, 0.6, 0.8, 1.0]).log())
        >>> rectifier.step()
        >>> rectifier.threshold  # a quarter of the probabilities lies below it
        tensor(0.3995, dtype=torch.float64)
    """

    threshold: Tensor
    num_steps: Tensor
    histogram: Tensor

    def __init__(
        self,
        rectified_fraction: float = 0.2,
        momentum: float = 0.9,
        initial_threshold: float = 0.7,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        self.rectified_fraction = check_number(
            *("rectified_fraction", rectified_fraction), above=0, below=1, of=name, remedy=_NONE_OR_ALL
        )
        self.momentum = check_number("momentum", momentum, least=0, below=1, of=name)
        initial_threshold = check_threshold(initial_threshold, "initial_threshold", of=name)
        threshold = torch.tensor(initial_threshold, dtype=torch.float64)
        self.add_state("threshold", threshold, dist_reduce_fx="max", persistent=True)  # equal on all ranks
        self.add_state("num_steps", torch.tensor(0), dist_reduce_fx="max", persistent=True)
        self.add_state("histogram", torch.zeros(_NUM_BINS, dtype=torch.long), dist_reduce_fx="sum")

    @override
    def rectify(self, logprobs: Tensor) -> Tensor:
        return rectified_coefficients(logprobs, self.threshold)

    @override
    def update(self, logprobs: Tensor, coefficients: Tensor | None = None) -> None:
        """Count the tokens with these log-probabilities, also for the next ``step``.

        Args:
            logprobs: Log-probabilities, of any shape.
            coefficients: The result of :meth:`rectify` for them, if it is known already; a token whose coefficient is
                NaN is not counted.
        """
        super().update(logprobs, coefficients)
        logprobs = logprobs.detach().double()
        unknown = logprobs.isnan() if coefficients is None else logprobs.isnan() | coefficients.isnan()
        logprobs = logprobs.masked_fill(unknown, 0.0).clamp(max=0)  # rounding may lift a probability above 1
        log_odds = (logprobs - torch.log(-torch.expm1(logprobs))).clamp(-_LOGIT_RANGE, _LOGIT_RANGE)
        bins = ((log_odds + _LOGIT_RANGE) * (_NUM_BINS / (2 * _LOGIT_RANGE))).long().clamp(max=_NUM_BINS - 1)
        # Unlike `bincount` this does not synchronise with a GPU to learn the number of bins.
        self.histogram.index_add_(0, bins.flatten(), (~unknown).long().flatten())

    @override
    def compute(self) -> dict[str, Tensor]:
        """Return the statistics, and the ``threshold``."""
        return {**super().compute(), "threshold": self.threshold}

    @override
    def step(self) -> None:
        """Move the threshold towards the quantile of the tokens since the last call; equal on every rank."""
        with self.sync_context(should_sync=not self._is_synced, distributed_available=self.distributed_available_fn):
            histogram = self.histogram.clone()
        if histogram.any():
            momentum = self.momentum if self.num_steps else 0.0
            quantile = _quantile(histogram, self.rectified_fraction)
            self.threshold = momentum * self.threshold + (1 - momentum) * quantile
            self.num_steps = self.num_steps + 1
        self.histogram = torch.zeros_like(self.histogram)
        self._computed = None  # the cache of compute() holds the old threshold

    @override
    def extra_repr(self) -> str:
        return f"rectified_fraction={self.rectified_fraction}, momentum={self.momentum}"


def _quantile(histogram: Tensor, fraction: float) -> Tensor:
    """Return the probability below which ``fraction`` of the counted tokens lies, interpolated within its bin."""
    rank = fraction * histogram.sum()
    below = histogram.cumsum(dim=0).double()
    number = torch.searchsorted(below, rank.double(), right=True).clamp(max=_NUM_BINS - 1)
    before = below[number] - histogram[number]
    within = (rank - before) / histogram[number].clamp(min=1)
    log_odds = (number + within) * (2 * _LOGIT_RANGE / _NUM_BINS) - _LOGIT_RANGE
    return torch.sigmoid(log_odds)
