"""What a model can do: found out by trying, remembered, and reported once where it cannot."""

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
    """What a probe of a model has found.

    Args:
        value: The answer.
        reason: Why the model cannot do more, with what happens instead; empty if it can do all that was asked.
    """

    value: Answer
    reason: str = ""


Probe = Callable[[PreTrainedModel], Capability[Answer]]

_FOUND: WeakKeyDictionary[PreTrainedModel, dict[Probe[Any], Capability[Any]]] = WeakKeyDictionary()


def capability(probe: Probe[Answer]) -> Probe[Answer]:
    """Let a probe run once a model, in evaluation mode, and log the reason for what it cannot do.

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
    """Within this context a model is in evaluation mode."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def forget_capabilities(model: PreTrainedModel) -> None:
    """Let all probes of a model run anew, as its layers have been exchanged."""
    _FOUND.pop(model, None)


def tolerance(*dtypes: torch.dtype, single: float = 1e-4, half: float = 5e-2) -> float:
    """Return how far results of a probe may be apart: half precision rounds to 2^-8."""
    return single if {*dtypes} <= {torch.float32, torch.float64} else half
