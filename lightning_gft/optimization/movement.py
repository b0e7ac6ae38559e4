"""How far updates move weights, and whether rounding in half precision cancels them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

_SAMPLED = 4096  # values sampled evenly from this rank's shard of a weight; smaller weights are sampled completely
_ENOUGH = 0.5  # fraction of values that an update should change


class WeightSample:
    """Samples values of weights before an update, to compare them with the values after it.

    Args:
        weights: Weights, or shards of weights, of this rank.

    Example:
        >>> weight = nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> sample = WeightSample([weight])
        >>> _ = weight.data.mul_(1.5)
        >>> sample.change()  # 1.5 ** 2 + 2 ** 2, 3 ** 2 + 4 ** 2
        tensor([ 6.2500, 25.0000])
    """

    def __init__(self, weights: Sequence[nn.Parameter]) -> None:
        self._weights = list(weights)
        values = [_values(weight) for weight in self._weights]
        self._sizes, self._before = [len(of_weight) for of_weight in values], torch.cat(values)
        half = [weight for weight in self._weights if _is_half(weight)]
        self._graded = torch.cat([_graded(weight) for weight in half]) if half else torch.zeros(0, dtype=torch.bool)

    def change(self) -> Tensor:
        """Return ``[2]``, the sums of squares of the weights' changes and of their values before.

        Both cover this rank's shards; they are exact for weights that are sampled completely, and estimates for others.
        """
        held = (_flat(weight).numel() for weight in self._weights)
        stands_for = self._each([number / max(size, 1) for number, size in zip(held, self._sizes, strict=True)])
        dtype = torch.promote_types(self._before.dtype, torch.float32)
        before = self._before.to(dtype)
        return torch.stack([self._values().to(dtype) - before, before]).square() @ stands_for.to(dtype)

    def moved(self) -> Tensor:
        """Return ``[2]``, the number of changed and of all sampled half-precision values that have a gradient."""
        is_half = self._each([float(_is_half(weight)) for weight in self._weights]).bool()
        changed = (self._values() != self._before)[is_half] & self._graded
        return torch.stack([changed.sum(), self._graded.sum()])

    def _values(self) -> Tensor:
        return torch.cat([_values(weight) for weight in self._weights])

    def _each(self, of_weights: Sequence[float]) -> Tensor:
        """Return the value of each weight, repeated for each of its sampled values."""
        return torch.tensor(of_weights).repeat_interleave(torch.tensor(self._sizes)).to(self._before.device)


class MovementProbe:
    """Measures the fraction of half-precision weights that an update changes, and warns once if it is small.

    A bfloat16 weight has 8 significant bits, so an update below about 1/512 of it is rounded away, every time. Updates
    are measured until the learning rate stops rising, because small fractions are normal during a warm-up. Values
    without a gradient do not count.

    Args:
        weights: The trainable weights. Updates are measured only if one of them is in half precision.

    Example:
        >>> weight = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
        >>> weight.grad = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.bfloat16)
        >>> MovementProbe([weight]).measures(learning_rate=1e-3)
        True
        >>> sample = WeightSample([weight])
        >>> _ = weight.data.sub_(1e-3 * weight.grad)  # as SGD would
        >>> sample.moved().tolist()
        [0, 3]
    """

    def __init__(self, weights: Sequence[nn.Parameter]) -> None:
        self._dtype = next((weight.dtype for weight in weights if _is_half(weight)), None)
        self._learning_rate = 0.0
        self._last: tuple[int, float, int] | None = None

    def measures(self, learning_rate: float) -> bool:
        """Return whether the next update is to be measured."""
        return self._dtype is not None and learning_rate > 0

    def judge(self, step: int, learning_rate: float, changed: int, total: int) -> None:
        """Record a measurement, and warn if it is the final one.

        Args:
            step: Optimizer step of the update.
            learning_rate: Learning rate of the update.
            changed: Number of values that it changed, over all ranks.
            total: Number of values that have a gradient, over all ranks.
        """
        if not total:
            return
        rises = learning_rate > self._learning_rate
        self._learning_rate, self._last = learning_rate, (step, changed / total, total)
        if not rises:
            self.conclude()

    def conclude(self) -> None:
        """Warn if the last measured fraction was small, and stop measuring."""
        if self._last is not None and self._last[1] < _ENOUGH:
            step, share, total = self._last
            rank_zero_warn(
                f"model.policy: trainable weights are in {str(self._dtype).removeprefix('torch.')}, and step {step} "
                f"with learning rate {self._learning_rate:g} changed {share:.2%} of {total} sampled values; the other "
                "updates were rounded away. Set torch_dtype: float32 with trainer.precision: bf16-mixed, or a larger "
                "learning rate"
            )
        self._dtype, self._last = None, None


def _is_half(weight: nn.Parameter) -> bool:
    return weight.is_floating_point() and weight.element_size() < 4


def _graded(weight: nn.Parameter) -> Tensor:
    """Return a mask of the sampled values that have a gradient."""
    if weight.grad is None:
        return torch.zeros_like(_values(weight), dtype=torch.bool)
    return _values(weight.grad) != 0


def _flat(tensor: Tensor) -> Tensor:
    own = tensor.detach()
    return (own.to_local() if isinstance(own, DTensor) else own).flatten()


def _values(tensor: Tensor) -> Tensor:
    flat = _flat(tensor)
    return flat[:: max(1, len(flat) // _SAMPLED) | 1]  # an odd stride reaches all columns of a matrix in turn
