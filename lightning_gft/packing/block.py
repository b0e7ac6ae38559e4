"""Blocks of sequences of similar length, in which attention is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

_BLOCK_COST = 2**14
"""Entries of an attention matrix that take about as long as one more block: fewer are better spent on padding."""


@dataclass(frozen=True)
class Movable:
    """A data class whose tensors move together."""

    def to(self, device: torch.device) -> Self:
        """Return it with its tensors on a device."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)})


@dataclass(frozen=True)
class Block(Movable):
    """``n`` sequences of similar length, for one call of an attention function.

    Args:
        queries: ``[n, R]`` places in the row of the tokens that ask; padding repeats the last one.
        keys: ``[n, L]`` places of the tokens that they may see, in the order of their positions, padded likewise.
        padding: ``[n, R]``, true where a query only fills up.
        positions: ``[n, R]`` positions of the queries in their sequences.
        causal: Whether they begin at 0 everywhere.
    """

    queries: Tensor
    keys: Tensor
    padding: Tensor
    positions: Tensor
    causal: bool

    def visible(self, window: int | None = None) -> Tensor:
        """Return ``[n, 1, R, L]``, true where a query may see a key.

        Args:
            window: Most positions back, its own included; ``None`` for no limit.
        """
        key = torch.arange(self.keys.shape[1], device=self.keys.device)
        position = self.positions[:, :, None]
        seen = key <= position
        if window is not None:
            seen &= key > position - window
        return seen.unsqueeze(1)


def make_blocks(places: Tensor, heads: Tensor, lengths: Tensor) -> tuple[Block, ...]:
    """Take sequences of similar length together, those that are run as a whole apart from those that are not.

    Args:
        places: ``[N, T]`` where in a row the tokens of each sequence stand; on the CPU, as all of these.
        heads: ``[N]`` how many of its first tokens another one asks for.
        lengths: ``[N]`` its tokens.
    """
    head, length = heads.tolist(), lengths.tolist()
    whole = [n for n, number in enumerate(head) if not number]
    following = [n for n, number in enumerate(head) if 0 < number < length[n]]
    buckets = [bucket for rows in (whole, following) for bucket in _buckets(rows, head, length)]
    return tuple(_block(places, torch.tensor(rows), heads, lengths) for rows in buckets)


def _block(places: Tensor, rows: Tensor, heads: Tensor, lengths: Tensor) -> Block:
    chosen, offsets, last = places[rows], heads[rows], lengths[rows, None] - 1
    key = torch.arange(int(last.max()) + 1)
    query = offsets[:, None] + key[: int((last.squeeze(1) - offsets).max()) + 1]
    positions = query.minimum(last)
    return Block(
        queries=chosen.gather(1, positions),
        keys=chosen.gather(1, key.minimum(last)),
        padding=(query > last),
        positions=positions,
        causal=not offsets.any(),
    )


def _buckets(rows: Sequence[int], heads: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Begin another block where filling this one up would cost more than that."""
    buckets: list[list[int]] = []
    width = height = 0
    for n in sorted(rows, key=lambda n: (lengths[n] - heads[n], lengths[n])):
        queries, keys = lengths[n] - heads[n], lengths[n]
        taller, wider = max(height, queries), max(width, keys)
        count = len(buckets[-1]) if buckets else 0
        added = taller * wider * (count + 1) - height * width * count - queries * keys
        if not buckets or added > _BLOCK_COST:
            buckets.append([n])
            height, width = queries, keys
        else:
            buckets[-1].append(n)
            height, width = taller, wider
    return buckets
