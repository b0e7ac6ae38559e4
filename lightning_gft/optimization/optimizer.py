"""Building an optimizer, and checking that it trains the policy's weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn
from torch import nn
from torch.optim import Optimizer

from lightning_gft.errors import OF_FACTORIES, GFTTypeError, GFTValueError, naming_errors

OptimizerFn = Callable[[Iterable[nn.Parameter]], Optimizer]


def make_optimizer(function: OptimizerFn, weights: Sequence[nn.Parameter], field: str = "model.optimizer") -> Optimizer:
    """Return an optimizer of weights.

    Args:
        function: Function from the weights to the optimizer.
        weights: The trainable weights.
        field: Setting that has the function, which errors begin with.

    Raises:
        ValueError: If there are no trainable weights, the optimizer has none of them, or a setting is out of range.
        TypeError: If an argument of the optimizer is missing or of another type, or the function returns no optimizer.

    Example:
        >>> from torch.optim import SGD
        >>> make_optimizer(lambda weights: SGD(weights, lr=-1.0), list(nn.Linear(1, 1).parameters()))
        Traceback (most recent call last):
        lightning_gft.errors.GFTValueError: `model.optimizer`: Invalid learning rate: -1.0
    """
    if not weights:
        raise GFTValueError(
            f"`{field}`: expected trainable weights, got a policy whose weights are all frozen; quantised "
            "weights need model.policy.lora to train"
        )
    with naming_errors(field, kinds=OF_FACTORIES):
        optimizer: Any = function(weights)
    check_optimizer(optimizer, weights, field)
    assert isinstance(optimizer, Optimizer)  # noqa: S101 (just checked)
    return optimizer


def check_optimizer(optimizer: Any, weights: Sequence[nn.Parameter], field: str = "model.optimizer") -> None:
    """Check an optimizer's weights and settings, and warn of trainable weights that it leaves out.

    Raises:
        ValueError: If it has none of the weights, a setting is not finite, or a learning rate is negative.
        TypeError: If it is not an optimizer.
    """
    if not isinstance(optimizer, Optimizer):
        raise GFTTypeError(
            f"`{field}`: expected an optimizer of the trainable weights, got {optimizer!r}; return one such as AdamW"
        )
    for group in optimizer.param_groups:
        for name, value in group.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise GFTValueError(f"`{field}.{name}`: expected a finite number, got {value}")
        if "lr" in group and not (math.isfinite(float(group["lr"])) and float(group["lr"]) >= 0):
            raise GFTValueError(f"`{field}.lr`: expected 0 or more, got {float(group['lr'])}")
    has = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    left_out = [weight for weight in weights if id(weight) not in has]
    if len(left_out) == len(weights):
        raise GFTValueError(
            f"`{field}`: expected an optimizer of the {len(weights)} trainable weights, got a "
            f"{type(optimizer).__name__} that has none of them; build it from the weights that the function receives"
        )
    if left_out:
        rank_zero_warn(
            f"`{field}`: {len(left_out)} of {len(weights)} trainable weights are not in the {type(optimizer).__name__} "
            "and will not change"
        )
