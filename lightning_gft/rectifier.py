"""Coefficient rectifiers: torchmetrics that bound the inverse-probability weight and count what they did."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torchmetrics import Metric
from typing_extensions import override

from lightning_gft.functional import check_threshold, continuous_coefficients, rectified_coefficients

_LOWEST_LOGPROB = -600.0
"""Inverse probabilities are counted up to e^600, which leaves their sum room within the fp64 range."""

_LOGIT_RANGE = 40.0
_NUM_BINS = 8192
"""Bins of the log-odds of token probabilities, from -40 to 40: about 0.01 wide, as fine near 0 and 1 as between."""

_serial_numbers = itertools.count()


class CoefficientRectifier(Metric):
    r"""Detached coefficients ``C(p)`` for likelihood gradients, with statistics of the weights ``C(p) / p``.

    As input to ``rectify`` and ``update``:

    - ``logprobs`` (:class:`~torch.Tensor`): log-probabilities of the trained tokens, of any shape

    As output of ``compute``, scalars over all tokens since the last ``reset`` and over all processes:

    - ``rectified_fraction``: share of tokens whose coefficient is not 1
    - ``coefficient_mean``: mean of ``C(p)``
    - ``inverse_probability_mean``, ``inverse_probability_max``: of ``1 / p``, the weight before rectification
    - ``rectified_weight_mean``, ``rectified_weight_max``: of ``C(p) / p``, the weight after it

    ``rectify`` is pure: it neither counts nor changes anything, so it may be called any number of times a step. Call
    ``update`` once for the tokens of a step and ``step`` after each optimizer step.

    Args:
        kwargs: Passed on to :class:`torchmetrics.Metric`.
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
        # MetricCollection merges metrics whose states agree after a batch; two rectifiers may, and still differ.
        self.add_state("serial_number", torch.tensor(next(_serial_numbers)), dist_reduce_fx="max")
        for name in ("num_tokens", "num_rectified"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")
        for name in ("coefficient_sum", "inverse_sum", "weight_sum"):
            self.add_state(name, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("inverse_max", "weight_max"):
            self.add_state(name, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="max")

    @abstractmethod
    def rectify(self, logprobs: Tensor) -> Tensor:
        """Return the coefficients of tokens with these log-probabilities: same shape, detached."""

    def update(self, logprobs: Tensor) -> None:
        """Count the tokens with these log-probabilities."""
        used = self.rectify(logprobs).double()
        logprobs = logprobs.detach().double().clamp(min=_LOWEST_LOGPROB)
        exact = self.rectify(logprobs)
        # Below about e^-87 the coefficients used underflow to 0; the precise ones differ else in rounding alone, which
        # must not change on which side of the threshold a token counts.
        coefficients = torch.where((used == 1) | (exact == 1), used, exact)
        inverse = (-logprobs).exp()
        weight = coefficients * inverse
        self.num_tokens += logprobs.numel()
        self.num_rectified += (coefficients != 1).sum()
        self.coefficient_sum += coefficients.sum()
        self.inverse_sum += inverse.sum()
        self.weight_sum += weight.sum()
        if logprobs.numel():
            self.inverse_max = torch.maximum(self.inverse_max, inverse.max())
            self.weight_max = torch.maximum(self.weight_max, weight.max())

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

    @override
    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Module:
        # A model that is cast to half precision must not take counters and thresholds along: follow its device only.
        return super()._apply(lambda tensor: tensor.to(fn(tensor.new_empty(0)).device), exclude_state)

    def step(self) -> None:
        """Adapt to the tokens counted since the last call. Every process must call it; by default nothing adapts."""


class IdentityRectifier(CoefficientRectifier):
    """Rectifies nothing, ``C = 1``: supervised fine-tuning's weights, with the same statistics.

    Args:
        kwargs: Passed on to :class:`torchmetrics.Metric`.

    Example:
        >>> rectifier = IdentityRectifier()
        >>> rectifier.update(torch.tensor([0.5, 0.1]).log())
        >>> rectifier.compute()["rectified_weight_max"]
        tensor(10.0000, dtype=torch.float64)
    """

    @override
    def rectify(self, logprobs: Tensor) -> Tensor:
        return torch.ones_like(logprobs, requires_grad=False)


class _ThresholdRectifier(CoefficientRectifier):
    """A rectifier with a fixed threshold."""

    def __init__(self, threshold: float = 0.7, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_threshold(threshold)
        self.threshold = threshold

    @override
    def extra_repr(self) -> str:
        return f"threshold={self.threshold}"


class DynamicCoefficientRectifier(_ThresholdRectifier):
    """The paper's Dynamic Coefficient Rectification, ``C = p if p < threshold else 1`` (arXiv 2604.14258).

    Args:
        threshold: The paper's tau, a probability. 0 gives supervised fine-tuning's weights, above 1 those of DFT.
        kwargs: Passed on to :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If ``threshold`` is negative.

    Example:
        >>> rectifier = DynamicCoefficientRectifier(threshold=0.5)
        >>> logprobs = torch.tensor([0.8, 0.1]).log()
        >>> rectifier.rectify(logprobs)
        tensor([1.0000, 0.1000])
        >>> rectifier.update(logprobs)
        >>> {name: round(value.item(), 2) for name, value in rectifier.compute().items()}
        {'rectified_fraction': 0.5, 'coefficient_mean': 0.55, 'inverse_probability_mean': 5.63,
        'inverse_probability_max': 10.0, 'rectified_weight_mean': 1.12, 'rectified_weight_max': 1.25}
    """

    @override
    def rectify(self, logprobs: Tensor) -> Tensor:
        return rectified_coefficients(logprobs, self.threshold)


class ContinuousCoefficientRectifier(_ThresholdRectifier):
    """Rectification without a jump, ``C = min(1, p / threshold)``; bounds the weight by ``1 / threshold``.

    Args:
        threshold: A probability.
        kwargs: Passed on to :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If ``threshold`` is negative.

    Example:
        >>> ContinuousCoefficientRectifier(threshold=0.5).rectify(torch.tensor([0.8, 0.1]).log())
        tensor([1.0000, 0.2000])
    """

    @override
    def rectify(self, logprobs: Tensor) -> Tensor:
        return continuous_coefficients(logprobs, self.threshold)


class AdaptiveCoefficientRectifier(CoefficientRectifier):
    """The paper's rectification with a threshold that keeps a chosen share of tokens rectified.

    The right threshold depends on how sure the model is, which differs between models and changes in training. After
    every optimizer step the threshold moves towards the ``rectified_fraction`` quantile of the token probabilities of
    that step, over all processes. It is saved in checkpoints, and ``reset`` clears the statistics but not the
    threshold, which steers training: call ``step`` before it.

    Args:
        rectified_fraction: Share of tokens to rectify, between 0 and 1.
        momentum: Weight of the past, from 0 (follow each step) to just below 1. The first step's quantile is taken
            whole.
        initial_threshold: Threshold of the first step.
        kwargs: Passed on to :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If ``rectified_fraction`` or ``momentum`` lies outside its range.

    Example:
        >>> rectifier = AdaptiveCoefficientRectifier(rectified_fraction=0.25)
        >>> rectifier.update(torch.tensor([0.2, 0.4, 0.6, 0.8, 1.0]).log())
        >>> rectifier.step()
        >>> rectifier.threshold  # a quarter of the probabilities lies below it
        tensor(0.4006, dtype=torch.float64)
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
        if not 0 < rectified_fraction < 1:
            raise ValueError(
                f"rectified_fraction={rectified_fraction} must lie strictly between 0 and 1; to rectify no token use "
                "IdentityRectifier, to rectify all use DynamicCoefficientRectifier(threshold=2.0)"
            )
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum={momentum} must lie in [0, 1)")
        check_threshold(initial_threshold)
        self.rectified_fraction = rectified_fraction
        self.momentum = momentum
        threshold = torch.tensor(initial_threshold, dtype=torch.float64)
        self.add_state("threshold", threshold, dist_reduce_fx="max", persistent=True)  # equal on all processes
        self.add_state("num_steps", torch.tensor(0), dist_reduce_fx="max", persistent=True)
        self.add_state("histogram", torch.zeros(_NUM_BINS, dtype=torch.long), dist_reduce_fx="sum")

    @override
    def rectify(self, logprobs: Tensor) -> Tensor:
        return rectified_coefficients(logprobs, self.threshold)

    @override
    def update(self, logprobs: Tensor) -> None:
        """Count the tokens with these log-probabilities, also towards the next ``step``."""
        super().update(logprobs)
        logprobs = logprobs.detach().double().flatten()
        log_odds = (logprobs - torch.log(-torch.expm1(logprobs))).clamp(-_LOGIT_RANGE, _LOGIT_RANGE)
        bins = ((log_odds + _LOGIT_RANGE) * (_NUM_BINS / (2 * _LOGIT_RANGE))).long().clamp(max=_NUM_BINS - 1)
        self.histogram += bins.bincount(minlength=_NUM_BINS)

    @override
    def compute(self) -> dict[str, Tensor]:
        """Return the statistics, and the ``threshold``."""
        return {**super().compute(), "threshold": self.threshold}

    @override
    def step(self) -> None:
        """Move the threshold towards the quantile of the tokens since the last call, the same on every process."""
        with self.sync_context(should_sync=not self._is_synced, distributed_available=self.distributed_available_fn):
            histogram = self.histogram.clone()
        if histogram.any():
            momentum = self.momentum if self.num_steps else 0.0
            quantile = _quantile(histogram, self.rectified_fraction)
            self.threshold = momentum * self.threshold + (1 - momentum) * quantile
            self.num_steps = self.num_steps + 1
        self.histogram = torch.zeros_like(self.histogram)
        self._computed = None  # what compute() has cached holds the old threshold

    @override
    def reset(self) -> None:
        """Clear the statistics; the threshold stays."""
        kept = self.threshold, self.num_steps
        super().reset()
        self.threshold, self.num_steps = kept

    @override
    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        # A checkpoint's tensors arrive on the device that it was read to.
        self.threshold, self.num_steps = self.threshold.to(self.device), self.num_steps.to(self.device)

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
