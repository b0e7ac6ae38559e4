"""The base class of coefficient rectifiers: metrics that bound inverse-probability weights and measure them."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.functional import widen
from lightning_gft.metrics import CoefficientStatistics

_serial_numbers = itertools.count()


class CoefficientRectifier(CoefficientStatistics):
    r"""Detached coefficients ``C(p)`` for likelihood gradients, with statistics of the weights ``C(p) / p``.

    ``rectify`` is pure: it neither counts tokens nor changes any state. Call ``update`` once for the tokens of a step,
    with the coefficients that were used for them, and ``step`` after each optimizer step. ``compute`` returns the
    figures of :class:`~lightning_gft.metrics.CoefficientStatistics`. A rectifier within a loss does not count them,
    since a run counts the tokens of every loss by itself.

    Args:
        kwargs: Passed on to :class:`torchmetrics.Metric`.

    Attributes:
        counts_tokens: Whether the rectifier counts these statistics; false within a loss.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.counts_tokens = True
        # MetricCollection merges metrics with equal states after a batch, but two rectifiers may still differ then.
        self.add_state("serial_number", torch.tensor(next(_serial_numbers)), dist_reduce_fx="max")

    @abstractmethod
    def rectify(self, logprobs: Tensor) -> Tensor:
        """Return the coefficients of tokens with these log-probabilities, detached and of the same shape."""

    @override
    def update(self, logprobs: Tensor, coefficients: Tensor | None = None) -> None:
        """Count the tokens with these log-probabilities.

        Args:
            logprobs: Log-probabilities, of any shape.
            coefficients: The result of :meth:`rectify` for them, if it is known already; a token whose coefficient is
                NaN is not counted.
        """
        if self.counts_tokens:
            logprobs = logprobs.detach()
            self._count(logprobs, self.rectify(widen(logprobs)) if coefficients is None else coefficients)

    @override
    def compute(self) -> dict[str, Tensor]:
        """Return the statistics; empty if the rectifier does not count them."""
        return super().compute() if self.counts_tokens else {}

    def step(self) -> None:
        """Adapt to the tokens counted since the last call. Every rank must call it; the default adapts nothing."""

    @override
    def reset(self) -> None:
        """Clear the statistics. State that checkpoints save is kept, as it steers training."""
        kept = {name: getattr(self, name) for name, persistent in self._persistent.items() if persistent}
        super().reset()
        for name, state in kept.items():
            setattr(self, name, state)
