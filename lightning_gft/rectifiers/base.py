"""What a coefficient rectifier is: a torchmetrics metric that bounds inverse-probability weights and counts them."""

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

    ``rectify`` is pure: it neither counts nor changes anything. Call ``update`` once for the tokens of a step, with the
    coefficients that were used for them, and ``step`` after each optimizer step. ``compute`` returns the figures of
    :class:`~lightning_gft.metrics.CoefficientStatistics`. Within a loss they are left out: a run counts the tokens of
    every loss, whatever rectifies them.

    Args:
        kwargs: Passed on to :class:`torchmetrics.Metric`.

    Attributes:
        counts_tokens: Whether it counts those statistics; false within a loss.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.counts_tokens = True
        # MetricCollection merges metrics whose states agree after a batch; two rectifiers may, and still differ.
        self.add_state("serial_number", torch.tensor(next(_serial_numbers)), dist_reduce_fx="max")

    @abstractmethod
    def rectify(self, logprobs: Tensor) -> Tensor:
        """Return the coefficients of tokens with these log-probabilities: same shape, detached."""

    @override
    def update(self, logprobs: Tensor, coefficients: Tensor | None = None) -> None:
        """Count the tokens with these log-probabilities.

        Args:
            logprobs: Log-probabilities, of any shape.
            coefficients: What :meth:`rectify` gave for them, if it has been asked already; NaN leaves a token out.
        """
        if self.counts_tokens:
            logprobs = logprobs.detach()
            self._count(logprobs, self.rectify(widen(logprobs)) if coefficients is None else coefficients)

    @override
    def compute(self) -> dict[str, Tensor]:
        """Return the statistics, if it counts them."""
        return super().compute() if self.counts_tokens else {}

    def step(self) -> None:
        """Adapt to the tokens counted since the last call. Every rank must call it; by default nothing adapts."""

    @override
    def reset(self) -> None:
        """Clear the statistics; what is saved in checkpoints steers training, and stays."""
        kept = {name: getattr(self, name) for name, persistent in self._persistent.items() if persistent}
        super().reset()
        for name, state in kept.items():
            setattr(self, name, state)
