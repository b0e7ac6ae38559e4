"""What a coefficient rectifier is: a torchmetrics metric that bounds inverse-probability weights and counts them."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from lightning_gft.metrics import ExactMetric

_LOWEST_LOGPROB = -600.0
"""Inverse probabilities are counted up to e^600, which leaves their sum room within the fp64 range."""

_serial_numbers = itertools.count()


class CoefficientRectifier(ExactMetric):
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

    def step(self) -> None:
        """Adapt to the tokens counted since the last call. Every process must call it; by default nothing adapts."""
