"""Whether updates move weights in half precision, or are lost in rounding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

_SAMPLED = 256  # values of a weight, spread over what this rank holds of it
_ENOUGH = 0.5  # share of values that an update should change


class Sample(NamedTuple):
    """Some values of a weight before an update, and which of them have a gradient."""

    weight: nn.Parameter
    before: Tensor
    has_gradient: Tensor


class MovementProbe:
    """Measures which share of half-precision weights an update changes, and warns once if it is small.

    A bfloat16 weight has 8 significant bits, so an update below about 1/512 of it is rounded away, every time. Updates
    are measured until the learning rate stops rising: during a warm-up, small shares mean nothing yet. Values without a
    gradient do not count.

    Args:
        weights: Those that train. Without one in half precision nothing is measured.

    Example:
        >>> weight = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
        >>> weight.grad = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.bfloat16)
        >>> probe = MovementProbe([weight])
        >>> sample = probe.sample(learning_rate=1e-3)
        >>> _ = weight.data.sub_(1e-3 * weight.grad)  # as SGD would
        >>> probe.count(sample).tolist()
        [0, 3]
    """

    def __init__(self, weights: Sequence[nn.Parameter]) -> None:
        self._weights = [weight for weight in weights if weight.is_floating_point() and weight.element_size() < 4]
        self._learning_rate = 0.0
        self._last: tuple[int, float, int] | None = None

    def sample(self, learning_rate: float) -> list[Sample] | None:
        """Return what to compare with after an update; ``None`` where nothing needs to be measured."""
        if not self._weights or learning_rate == 0:
            return None
        return [
            Sample(weight, _values(weight).clone(), _values(weight.grad) != 0)
            for weight in self._weights
            if weight.grad is not None
        ]

    def count(self, samples: list[Sample]) -> Tensor:
        """Return ``[2]``: how many of the values that have a gradient an update changed, and how many there are.

        Args:
            samples: From before the update. Counts are of what this rank holds.
        """
        counts = torch.zeros(2, dtype=torch.int64)
        for weight, before, has_gradient in samples:
            changed = (_values(weight) != before) & has_gradient
            counts = counts.to(weight.device) + torch.stack([changed.sum(), has_gradient.sum()])
        return counts

    def judge(self, step: int, learning_rate: float, changed: int, total: int) -> None:
        """Note a measurement, and warn if it is the one that counts.

        Args:
            changed: Values that it changed, over all ranks.
            total: Values that have a gradient, over all ranks.
        """
        if not total:
            return
        rises = learning_rate > self._learning_rate
        self._learning_rate, self._last = learning_rate, (step, changed / total, total)
        if not rises:
            self.conclude()

    def conclude(self) -> None:
        """Warn if the last measurement was small, and measure no more."""
        if self._last is not None and self._last[1] < _ENOUGH:
            step, share, total = self._last
            dtype = str(self._weights[0].dtype).removeprefix("torch.")
            rank_zero_warn(
                f"model.policy: weights that train are in {dtype}, and step {step} with learning rate "
                f"{self._learning_rate:g} changed {share:.2%} of {total} sampled values; the rest was rounded away. "
                "Set torch_dtype: float32 with trainer.precision: bf16-mixed, or a larger learning rate"
            )
        self._weights, self._last = [], None


def _values(tensor: Tensor | None) -> Tensor:
    assert tensor is not None  # noqa: S101 (weights without a gradient are left out)
    own = tensor.detach()
    flat = (own.to_local() if isinstance(own, DTensor) else own).flatten()
    return flat[:: max(1, len(flat) // _SAMPLED)]
