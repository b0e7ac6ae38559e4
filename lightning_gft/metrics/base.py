"""A metric that counts in its own precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torchmetrics import Metric
from typing_extensions import override


class ExactMetric(Metric):
    """A torchmetrics metric that follows its module to another device, but not to another data type.

    With ``precision: bf16-true`` Lightning converts the whole module, and a sum of many tokens in half precision would
    soon stop growing.
    """

    @override
    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Any:
        return super()._apply(lambda state: state.to(fn(state.new_empty(0)).device), exclude_state)
