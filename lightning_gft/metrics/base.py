"""The base class of metrics that keep their own precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torchmetrics import Metric
from typing_extensions import override


class ExactMetric(Metric):
    """A torchmetrics metric that moves with its module to another device, but keeps its data types.

    With ``precision: bf16-true`` Lightning converts the whole module, and a sum over many tokens in half precision
    would soon stop growing.
    """

    @override
    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Any:
        return super()._apply(lambda state: state.to(fn(state.new_empty(0)).device), exclude_state)

    @override
    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        for name in self._defaults:  # torchmetrics leaves loaded states on the checkpoint's device
            if isinstance(state := getattr(self, name), Tensor):
                setattr(self, name, state.to(self.device))
