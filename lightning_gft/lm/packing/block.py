"""Blocks of sequences of similar length, which attention is computed in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_BLOCK_COST = 2**14
"""Entries of an attention matrix that take as long as one more block: it pays to pad up to that many entries."""


@dataclass(frozen=True, eq=False)
class Block:
    """``n`` sequences of similar length, with ``R`` queries and ``L`` keys each.

    Args:
        positions: ``[n, R]``, the queries' positions in their sequences, on the CPU; padding repeats the last one.
        width: ``L``, the length of the longest sequence.
        causal: Whether the queries begin at position 0 in all sequences.
    """

    positions: Tensor
    width: int
    causal: bool

    @property
    def num_queries(self) -> int:
        """``n * R``."""
        return self.positions.numel()

    @property
    def num_keys(self) -> int:
        """``n * L``."""
        return len(self.positions) * self.width

    def visible(self, window: int | None = None, device: torch.device | None = None) -> Tensor:
        """Return ``[n, 1, R, L]``, true where a query attends to a key, at most ``window`` positions back."""
        position = self.positions[:, :, None].to(device or self.positions.device)
        key = torch.arange(self.width, device=position.device)
        visible = key <= position
        if window is not None:
            visible &= key > position - window
        return visible.unsqueeze(1)


def choose_blocks(shared: Tensor, lengths: Tensor) -> Iterator[tuple[Block, Tensor]]:
    """Group sequences of similar length into blocks, whole sequences apart from those that share tokens.

    Args:
        shared: ``[N]``, the number of leading tokens of each sequence that are queries of another sequence.
        lengths: ``[N]``, the number of tokens of each sequence.

    Yields:
        A block and the row numbers ``[n]`` of its sequences.
    """
    skipped, widths = shared.tolist(), lengths.tolist()
    whole = [n for n, count in enumerate(skipped) if not count]
    following = [n for n, count in enumerate(skipped) if 0 < count < widths[n]]
    for bucket in (*_buckets(whole, skipped, widths), *_buckets(following, skipped, widths)):
        rows = torch.tensor(bucket, device="cpu")
        first, last = shared[rows, None], lengths[rows, None] - 1
        query = first + torch.arange(int((last - first).max()) + 1, device="cpu")
        yield Block(query.minimum(last), width=int(last.max()) + 1, causal=not first.any()), rows


def _buckets(rows: Sequence[int], skipped: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Begin a new block where padding the current one would cost more."""
    buckets: list[list[int]] = []
    width = height = 0
    for n in sorted(rows, key=lambda n: (lengths[n] - skipped[n], lengths[n])):
        queries, keys = lengths[n] - skipped[n], lengths[n]
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
