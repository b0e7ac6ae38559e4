"""Coefficient rectifiers with a given threshold, or without one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.annealing import Annealing
from lightning_gft.functional import check_threshold, continuous_coefficients, rectified_coefficients
from lightning_gft.rectifiers.base import CoefficientRectifier


class IdentityRectifier(CoefficientRectifier):
    """Rectifies nothing, ``C = 1``: the weights of supervised fine-tuning, with the same statistics.

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
    """A rectifier with a threshold that is fixed or changes with the optimizer steps."""

    num_steps: Tensor

    def __init__(self, threshold: float | Annealing = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        self.annealing = threshold if isinstance(threshold, Annealing) else None
        if self.annealing is not None:
            check_threshold(self.annealing.start, "threshold.start", of=name)
            check_threshold(self.annealing.end, "threshold.end", of=name)
            self.add_state("num_steps", torch.tensor(0), dist_reduce_fx="max", persistent=True)  # equal on all ranks
            threshold = self.annealing.at(0)
        self.threshold = check_threshold(threshold, of=name)

    @override
    def compute(self) -> dict[str, Tensor]:
        """Return the statistics, and the ``threshold`` if it changes over the steps."""
        figures = super().compute()
        if self.annealing is not None:
            figures["threshold"] = torch.tensor(self.threshold, dtype=torch.float64, device=self.device)
        return figures

    @override
    def step(self) -> None:
        if self.annealing is not None:
            self.num_steps = self.num_steps + 1
            self._follow(self.annealing)
            self._computed = None  # the cache of compute() holds the old threshold

    @override
    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        if self.annealing is not None:
            self._follow(self.annealing)

    def _follow(self, annealing: Annealing) -> None:
        """Set the step's threshold as a Python number: reading a tensor on a GPU would synchronise at each use."""
        self.threshold = annealing.at(int(self.num_steps))

    @override
    def extra_repr(self) -> str:
        return f"threshold={self.annealing or self.threshold}"


class DynamicCoefficientRectifier(_ThresholdRectifier):
    """The paper's Dynamic Coefficient Rectification, ``C = p if p < threshold else 1`` (arXiv 2604.14258).

    Args:
        threshold: The paper's tau, a probability. The gradient of a token below it is multiplied by ``p``, so a high
            one holds back what the policy finds improbable; a low one admits weights of up to ``1 / threshold``. 0
            gives the weights of supervised fine-tuning, a value above 1 those of DFT. An ``Annealing`` changes it over
            the optimizer steps and logs it; checkpoints save its progress.
        kwargs: Passed on to :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If ``threshold`` is negative, infinite or NaN.
        TypeError: If it is not a number.

    Example:
        >>> rectifier = DynamicCoefficientRectifier(threshold=0.5)
        >>> logprobs = torch.tensor([0.8, 0.1]).log()
        >>> rectifier.rectify(logprobs)
        tensor([1.0000, 0.1000])
        >>> rectifier.update(logprobs)
        >>> {name: round(value.item(), 2) for name, value in rectifier.compute().items()}
        {'rectified_fraction': 0.5, 'coefficient_mean': 0.55, 'inverse_probability_mean': 5.63,
        'inverse_probability_p99': 10.0, 'inverse_probability_max': 10.0, 'rectified_weight_mean': 1.12,
        'rectified_weight_p99': 1.25, 'rectified_weight_max': 1.25}
    """

    @override
    def rectify(self, logprobs: Tensor) -> Tensor:
        return rectified_coefficients(logprobs, self.threshold)


class ContinuousCoefficientRectifier(_ThresholdRectifier):
    """Rectification without a jump, ``C = min(1, p / threshold)``; bounds the weight by ``1 / threshold``.

    Args:
        threshold: A probability, or an ``Annealing`` that changes it over the optimizer steps.
        kwargs: Passed on to :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If ``threshold`` is negative, infinite or NaN.
        TypeError: If it is not a number.

    Example:
        >>> ContinuousCoefficientRectifier(threshold=0.5).rectify(torch.tensor([0.8, 0.1]).log())
        tensor([1.0000, 0.2000])
    """

    @override
    def rectify(self, logprobs: Tensor) -> Tensor:
        return continuous_coefficients(logprobs, self.threshold)
