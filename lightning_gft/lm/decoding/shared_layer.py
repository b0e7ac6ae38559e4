"""The keys and values of one layer: once for each prompt, and for each response."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer
from typing_extensions import override

from lightning_gft.lm.decoding.slots import Slots

_ROOM = 32
"""Tokens to allocate room for at first."""


class SharedLayer(DynamicLayer):
    """A layer of a cache whose ``update`` returns the keys and values of the responses, without their prompts.

    They are written in place into a buffer that doubles when it is full: copying everything at every token would cost
    more than attending to it.

    Args:
        prompt_keys: ``[P, key heads, T, D]``, the keys of the prompts.
        prompt_values: ``[P, key heads, T, D]``, the values of the prompts.
        stored: Slots of the responses among the rows of the buffer.
    """

    keys: Tensor  # never None, as the buffer exists from the start
    values: Tensor

    def __init__(self, prompt_keys: Tensor, prompt_values: Tensor, stored: Slots) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lazy_initialization(prompt_keys, prompt_values)
        self.prompt_keys, self.prompt_values = _as_attended(prompt_keys), _as_attended(prompt_values)
        self.stored = stored
        self.length = 0
        self.keys, self.values = (
            part.new_empty(stored.size, part.shape[1], _ROOM, part.shape[3])
            for part in (self.prompt_keys, self.prompt_values)
        )
        self.handed: Tensor | None = None
        """The keys that the last update returned, until they have been attended to."""

    @override
    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        if self.length == self.keys.shape[2]:
            self.keys, self.values = (_with_room(part, 2 * self.length) for part in (self.keys, self.values))
        self.stored.write(key_states.squeeze(2), into=self.keys.select(2, self.length))
        self.stored.write(value_states.squeeze(2), into=self.values.select(2, self.length))
        self.length += 1
        self.handed = self.keys[:, :, : self.length]
        return self.handed, self.values[:, :, : self.length]

    @override
    def get_seq_length(self) -> int:
        return self.prompt_keys.shape[2] + self.length

    def keep_prompts(self, prompts: Tensor) -> None:
        """Drop all other prompts."""
        self.prompt_keys, self.prompt_values = self.prompt_keys[prompts], self.prompt_values[prompts]

    def keep_stored(self, rows: Tensor) -> None:
        """Drop the keys and values of all other responses."""
        self.keys, self.values = self.keys[rows], self.values[rows]


def product(left: Tensor, right: Tensor) -> Tensor:
    """Return ``[A, B, m, x] @ [A, B, x, n]`` in at least float32, like attention kernels inside.

    Example:
        >>> product(torch.ones(1, 1, 2, 3, dtype=torch.bfloat16), torch.ones(1, 1, 3, 1, dtype=torch.bfloat16))
        tensor([[[[3.],
                  [3.]]]])
    """
    if left.dtype.itemsize >= torch.float32.itemsize:
        return left @ right
    if left.is_cuda:  # avoids a copy of the cache in float32
        flat: Tensor = torch.bmm(left.flatten(0, 1), right.flatten(0, 1), out_dtype=torch.float32)
        return flat.view(*left.shape[:3], right.shape[3])
    return left.float() @ right.float()


def _as_attended(part: Tensor) -> Tensor:
    """Return keys or values in the data type that autocast would convert them to at every step."""
    device = part.device.type
    casts = torch.is_autocast_enabled(device) and part.dtype != torch.float64
    return part.to(torch.get_autocast_dtype(device)) if casts else part


def _with_room(part: Tensor, length: int) -> Tensor:
    """Return ``[N, heads, length, D]`` that begins with a part.

    The rest is uninitialised. The slots of ended responses stay so, and products with them are never read.
    """
    room = part.new_empty(len(part), part.shape[1], length, part.shape[3])
    room[:, :, : part.shape[2]] = part
    return room
