"""Weights that a run does not train, and checkpoints therefore need not hold."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_PROBED = 64  # values of a weight, at either end, by which it is known again
_SCALES_OF_8_BITS = ("SCB", "weight_format")  # bitsandbytes keeps them beside the weight; those of 4 bits, below it


class FrozenWeights:
    """The weights that a run does not train: a frozen base, a reference policy.

    They come back from where they were loaded, so checkpoints leave them out: an adapter's is a few percent of its
    model. A digest makes sure that they are the same.

    Args:
        module: Whose weights have just been loaded.

    Example:
        >>> module = nn.Sequential(nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2))
        >>> state = module.state_dict()
        >>> _ = FrozenWeights(module).take_out(state)
        >>> list(state)
        ['1.weight', '1.bias']
    """

    def __init__(self, module: nn.Module) -> None:
        self.digests = dict(_frozen_digests(module))

    def take_out(self, state: dict[str, Any]) -> dict[str, str]:
        """Remove frozen weights from a state, and return their digests by their names.

        Args:
            state: The module's. A weight that has changed after all stays in it.
        """
        same = {name: d for name, d in self.digests.items() if name in state and _digest(state[name]) == d}
        for name in [name for name in state if belongs_to(name, same)]:
            del state[name]
        return same

    def differences(self, noted: Mapping[str, str]) -> list[str]:
        """Return what differs from the weights that were taken out of a checkpoint.

        Args:
            noted: What :meth:`take_out` returned.
        """
        return [
            f"{name}, which is not trained, has other values" if name in self.digests else f"{name} is not here"
            for name, digest in noted.items()
            if self.digests.get(name) != digest and not (is_reference(name) and name not in self.digests)
        ]


def belongs_to(name: str, weights: Mapping[str, str]) -> bool:
    """Tell whether an entry of a state is one of some weights, or belongs to one, as the scales of quantised ones do.

    Args:
        name: Of the entry.
        weights: By their names.
    """
    if name in weights:
        return True
    layer, _, part = name.rpartition(".")
    if part in _SCALES_OF_8_BITS:
        return f"{layer}.weight" in weights
    return any(name.startswith(f"{weight}.") for weight in weights)


def is_reference(name: str) -> bool:
    """Tell whether an entry of a state is the reference policy's: whether a run keeps one is its own affair.

    Args:
        name: Of the entry.
    """
    return "reference" in name


def _frozen_digests(module: nn.Module) -> Iterator[tuple[str, str]]:
    for name, weight in module.named_parameters(remove_duplicate=False):
        if not weight.requires_grad:
            yield name, _digest(weight)


def _digest(weight: Tensor) -> str:
    flat = weight.detach().flatten()
    ends = torch.cat([flat[:_PROBED], flat[-_PROBED:]]).cpu().contiguous()
    values = ends.view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(f"{list(weight.shape)} {weight.dtype}".encode() + values).hexdigest()[:16]
