"""How far updates move weights, and whether in half precision they are lost in rounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

_SAMPLED = 4096  # values of a weight, spread over what this rank holds of it; all of a smaller weight
_ENOUGH = 0.5  # share of values that an update should change


class WeightSample:
    """Some values of weights before an update, to be compared with what they are after it.

    Args:
        weights: Of this rank, which may hold shards of them.

    Example:
        >>> weight = nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> sample = WeightSample([weight])
        >>> _ = weight.data.mul_(1.5)
        >>> sample.change()  # 1.5 ** 2 + 2 ** 2, 3 ** 2 + 4 ** 2
        tensor([ 6.2500, 25.0000])
    """

    def __init__(self, weights: Sequence[nn.Parameter]) -> None:
        self._weights = list(weights)
        self._before = self._values()
        half = [weight for weight in self._weights if _is_half(weight)]
        self._graded = torch.cat([_graded(weight) for weight in half]) if half else torch.zeros(0, dtype=torch.bool)

    def change(self) -> Tensor:
        """Return ``[2]``: the sums of squares of what all weights have changed by, and of what they were.

        Both are of what this rank holds: exact where it is all sampled, else estimated.
        """
        stands_for = self._each(lambda weight: len(_flat(weight)) / max(len(_values(weight)), 1))
        dtype = torch.promote_types(self._before.dtype, torch.float32)
        before = self._before.to(dtype)
        return torch.stack([self._values().to(dtype) - before, before]).square() @ stands_for.to(dtype)

    def moved(self) -> Tensor:
        """Return ``[2]``: how many of the values in half precision with a gradient have changed, how many there are."""
        is_half = self._each(_is_half).bool()
        changed = (self._values() != self._before)[is_half] & self._graded
        return torch.stack([changed.sum(), self._graded.sum()])

    def _values(self) -> Tensor:
        return torch.cat([_values(weight) for weight in self._weights])

    def _each(self, of_weight: Callable[[nn.Parameter], float]) -> Tensor:
        """Return for each value what holds for its weight."""
        sizes = torch.tensor([len(_values(weight)) for weight in self._weights])
        each = torch.tensor([float(of_weight(weight)) for weight in self._weights]).repeat_interleave(sizes)
        return each.to(self._before.device)


class MovementProbe:
    """Judges which share of half-precision weights an update changes, and warns once if it is small.

    A bfloat16 weight has 8 significant bits, so an update below about 1/512 of it is rounded away, every time. Updates
    are measured until the learning rate stops rising: during a warm-up, small shares mean nothing yet. Values without a
    gradient do not count.

    Args:
        weights: Those that train. Without one in half precision nothing is measured.

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
        """Return whether an update is to be measured."""
        return self._dtype is not None and learning_rate > 0

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
            rank_zero_warn(
                f"model.policy: weights that train are in {str(self._dtype).removeprefix('torch.')}, and step {step} "
                f"with learning rate {self._learning_rate:g} changed {share:.2%} of {total} sampled values; the rest "
                "was rounded away. Set torch_dtype: float32 with trainer.precision: bf16-mixed, or a larger learning "
                "rate"
            )
        self._dtype, self._last = None, None


def _is_half(weight: nn.Parameter) -> bool:
    return weight.is_floating_point() and weight.element_size() < 4


def _graded(weight: nn.Parameter) -> Tensor:
    """Return which of the sampled values have a gradient."""
    if weight.grad is None:
        return torch.zeros_like(_values(weight), dtype=torch.bool)
    return _values(weight.grad) != 0


def _flat(tensor: Tensor) -> Tensor:
    own = tensor.detach()
    return (own.to_local() if isinstance(own, DTensor) else own).flatten()


def _values(tensor: Tensor) -> Tensor:
    flat = _flat(tensor)
    return flat[:: max(1, len(flat) // _SAMPLED) | 1]  # an odd stride meets the columns of a matrix in turn
