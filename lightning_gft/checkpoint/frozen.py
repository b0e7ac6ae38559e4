"""Frozen weights, which checkpoints need not hold."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from lightning_gft.checkpoint.references import is_reference

_SAMPLED = 256  # values sampled evenly from a weight
_CHUNK = 1 << 24
_SCALES_OF_8_BITS = ("SCB", "weight_format")  # bitsandbytes keeps them beside the weight; in 4 bits, below its name


class FrozenWeights:
    """The weights that a run does not train: a frozen base, a reference policy.

    They are loaded again from their source, so checkpoints leave them out: an adapter is a few percent of its model.
    Digests verify that they are the same.

    Args:
        module: A module whose weights have just been loaded.

    Example:
        >>> module = nn.Sequential(nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2))
        >>> state = module.state_dict()
        >>> _ = FrozenWeights(module).take_out(state, module)
        >>> list(state)
        ['1.weight', '1.bias']
    """

    def __init__(self, module: nn.Module) -> None:
        self.digests = {name: digest(weight) for name, weight in _frozen(module)}

    def take_out(self, state: dict[str, Any], module: nn.Module) -> dict[str, str]:
        """Remove frozen weights from a state, and return their digests by their names.

        Args:
            state: The module's state, which is changed in place.
            module: The module as it is now. A weight that has become trainable, or has changed, stays in the state.
        """
        frozen = dict(_frozen(module))
        same = {name: known for name, known in self.digests.items() if name in frozen and digest(frozen[name]) == known}
        for name in [name for name in state if belongs_to(name, same)]:
            del state[name]
        return same

    def differences(self, noted: Mapping[str, str]) -> list[str]:
        """Describe differences from the weights that were taken out of a checkpoint.

        Args:
            noted: Digests returned by :meth:`take_out`.
        """
        return [
            f"{name}, which is not trained, has other values, as after a change of model_name_or_path or quantization"
            if name in self.digests
            else f"{name} is only in the checkpoint"
            for name, known in noted.items()
            if self.digests.get(name) != known and not (is_reference(name) and name not in self.digests)
        ]


def digest(weight: Tensor) -> str:
    """Return a digest of a weight, from a sample of its values and the sum of the bits of all of them.

    Values are converted to bfloat16, so that changing the data type by the trainer's precision keeps the digest.

    Args:
        weight: A tensor of any shape and data type. If it is sharded, all ranks call this together.

    Example:
        >>> digest(torch.ones(3)) == digest(torch.ones(3, dtype=torch.float64)) != digest(torch.zeros(3))
        True
    """
    total, sample = _summary(weight.detach())
    described = f"{list(weight.shape)} {weight.is_floating_point()} {total}".encode()
    sample = sample.cpu().contiguous()
    return hashlib.sha256(described + sample.view(torch.uint8).numpy().tobytes()).hexdigest()[:16]


def weight_digests(module: nn.Module) -> dict[str, str]:
    """Return the digests of all weights of a module, by their names.

    Args:
        module: Any module. If it is sharded, all ranks call this together.
    """
    return {name: digest(weight) for name, weight in module.named_parameters()}


def belongs_to(name: str, weights: Mapping[str, str]) -> bool:
    """Return whether an entry of a state is one of some weights, or belongs to one like scales of quantised weights.

    Args:
        name: Name of the entry.
        weights: Weights or their digests, by name.
    """
    if name in weights:
        return True
    layer, _, part = name.rpartition(".")
    if part in _SCALES_OF_8_BITS:
        return f"{layer}.weight" in weights
    parts = name.split(".")
    return any(".".join(parts[:length]) in weights for length in range(1, len(parts)))


def _summary(weight: Tensor) -> tuple[int, Tensor]:
    """Return the sum of the bits of all values, and the bits of a sample of them."""
    step = max(1, weight.numel() // _SAMPLED)
    if not isinstance(weight, DTensor):
        flat = weight.flatten()
        return _bit_sum(flat), _bits(flat[::step])
    flat = weight.to_local().flatten()
    # Rows are sharded in equal parts, rounded up: the last ranks have fewer, or none.
    rows = -(-weight.shape[0] // weight.device_mesh.size()) * weight.device_mesh.get_local_rank()
    start = min(rows * math.prod(weight.shape[1:]), weight.numel())
    indices = torch.arange(0, weight.numel(), step)
    mine = (indices >= start) & (indices < start + len(flat))
    parts = torch.zeros(len(indices) + 1, dtype=torch.int64)
    parts[0] = _bit_sum(flat)
    parts[1:][mine] = _bits(flat[(indices[mine] - start).to(flat.device)]).long().cpu()
    parts = parts.to(weight.device_mesh.device_type)
    torch.distributed.all_reduce(parts, group=weight.device_mesh.get_group())
    return int(parts[0]), parts[1:].to(_bits(flat[:0]).dtype)


def _bit_sum(flat: Tensor) -> int:
    return sum(int(_bits(chunk).sum(dtype=torch.int64)) for chunk in flat.split(_CHUNK))


def _bits(values: Tensor) -> Tensor:
    return values.to(torch.bfloat16).view(torch.int16) if values.is_floating_point() else values


def _frozen(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, weight in module.named_parameters(remove_duplicate=False):
        if not weight.requires_grad:
            yield name, weight
