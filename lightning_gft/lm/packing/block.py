"""Blocks of sequences of similar length, in which attention is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_BLOCK_COST = 2**14
"""Entries of an attention matrix that take about as long as one more block: fewer are better spent on padding."""


@dataclass(frozen=True, eq=False)
class Block:
    """``n`` sequences of similar length, of each ``R`` tokens that ask and ``L`` that they may see.

    Args:
        positions: ``[n, R]``, on the CPU, of the tokens that ask in their sequences.
        width: ``L``.
        causal: Whether they begin at 0 everywhere.
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
        """Return ``[n, 1, R, L]``, true where a query may see a key.

        Args:
            window: Most positions back, its own included; ``None`` for no limit.
            device: Of the result; default the CPU.
        """
        position = self.positions[:, :, None].to(device or self.positions.device)
        key = torch.arange(self.width, device=position.device)
        seen = key <= position
        if window is not None:
            seen &= key > position - window
        return seen.unsqueeze(1)


@dataclass(frozen=True, eq=False)
class LaidBlock:
    """A block and where its tokens stand in a row.

    Args:
        block: The block.
        queries: ``[n * R]`` places of the tokens that ask; padding repeats a sequence's last one.
        keys: ``[n * L]`` places of the tokens that they may see, in the order of their positions, padded likewise.
        padding: ``[n * R]``, true where a query only fills up.
    """

    block: Block
    queries: Tensor
    keys: Tensor
    padding: Tensor


def lay_blocks(places: Tensor, shared: Tensor, lengths: Tensor) -> list[LaidBlock]:
    """Take sequences of similar length together, those that ask with all their tokens apart from those that do not.

    Args:
        places: ``[N, T]`` where in a row the tokens of each sequence stand; on the CPU, as all of these.
        shared: ``[N]`` how many of its first tokens another one asks for.
        lengths: ``[N]`` its tokens.
    """
    skipped, widths = shared.tolist(), lengths.tolist()
    whole = [n for n, count in enumerate(skipped) if not count]
    following = [n for n, count in enumerate(skipped) if 0 < count < widths[n]]
    buckets = [bucket for rows in (whole, following) for bucket in _buckets(rows, skipped, widths)]
    return [_lay(places, torch.tensor(rows, device=places.device), shared, lengths) for rows in buckets]


def _lay(places: Tensor, rows: Tensor, shared: Tensor, lengths: Tensor) -> LaidBlock:
    chosen, first, last = places[rows], shared[rows, None], lengths[rows, None] - 1
    key = torch.arange(int(last.max()) + 1, device=places.device)
    query = first + key[: int((last - first).max()) + 1]
    positions = query.minimum(last)
    return LaidBlock(
        Block(positions, width=len(key), causal=not first.any()),
        queries=chosen.gather(1, positions).flatten(),
        keys=chosen.gather(1, key.minimum(last)).flatten(),
        padding=(query > last).flatten(),
    )


def _buckets(rows: Sequence[int], skipped: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Begin another block where filling this one up would cost more than that."""
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
