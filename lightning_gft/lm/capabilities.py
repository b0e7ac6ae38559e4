"""What a model supports: probed once, remembered, and reported where it falls short."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import nn
from transformers import PreTrainedModel

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Capability(Generic[Answer]):
    """The result of probing a model.

    Args:
        value: What the probe returned.
        reason: Why the model cannot do more, and what happens instead; empty if it supports all that was probed.
    """

    value: Answer
    reason: str = ""


Probe = Callable[[PreTrainedModel], Capability[Answer]]

_FOUND: WeakKeyDictionary[PreTrainedModel, dict[Probe[Any], Capability[Any]]] = WeakKeyDictionary()


def capability(probe: Probe[Answer]) -> Probe[Answer]:
    """Make a probe run once per model, in evaluation mode, and log the reason where the model falls short.

    Example:
        >>> from lightning_gft import ScratchPolicy
        >>> model, runs = ScratchPolicy("abc").load_model(), []
        >>> @capability
        ... def is_small(model):
        ...     runs.append(model.training)
        ...     return Capability(model.num_parameters() < 1e9)
        >>> is_small(model).value, is_small(model).value, runs
        (True, True, [False])
    """

    @wraps(probe)
    def remembered(model: PreTrainedModel) -> Capability[Answer]:
        found = _FOUND.setdefault(model, {})
        if probe not in found:
            with evaluating(model):
                found[probe] = probe(model)
            if found[probe].reason:
                rank_zero_info(found[probe].reason)
        return found[probe]

    return remembered


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Keep a model in evaluation mode within this context."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def forget_capabilities(model: PreTrainedModel) -> None:
    """Discard the results of all probes of a model, because its layers have been exchanged."""
    _FOUND.pop(model, None)


def tolerance(*dtypes: torch.dtype, single: float = 1e-4, half: float = 5e-2) -> float:
    """Return the relative difference to allow between a probe's results: half precision rounds to 2^-8."""
    return single if {*dtypes} <= {torch.float32, torch.float64} else half
