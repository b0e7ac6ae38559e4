"""Rows of a larger tensor that the responses in flight take up."""

from __future__ import annotations

import torch
from torch import Tensor


class Places:
    """Which of ``size`` rows are taken, by ``N`` responses in order.

    Args:
        taken: ``[N]``, on the CPU, increasing.
        size: How many rows there are.
        device: Where the tensors are whose rows these are.

    Example:
        >>> places = Places(torch.tensor([0, 2]), 3, torch.device("cpu"))
        >>> spread = places.spread(torch.tensor([5, 7]))
        >>> spread
        tensor([5, 5, 7])
        >>> places.gather(spread)
        tensor([5, 7])
    """

    def __init__(self, taken: Tensor, size: int, device: torch.device) -> None:
        self.taken = taken
        self.size = size
        self.index = taken.to(device, non_blocking=True)
        if not self.full:
            takers = torch.zeros(size, dtype=torch.long)
            takers[taken] = torch.arange(len(taken))
            self._takers = takers.to(device, non_blocking=True)

    @classmethod
    def filling(cls, size: int, device: torch.device) -> Places:
        """Return places that take up every row."""
        return cls(torch.arange(size), size, device)

    @classmethod
    def by_prompt(cls, prompts: Tensor, count: int, device: torch.device) -> Places:
        """Return places in as many rows for each of the prompts as the one with most responses has need of.

        Args:
            prompts: ``[N]``, the prompt of each response, on the CPU, increasing.
            count: How many prompts there are.
            device: Where the tensors are whose rows these are.

        Example:
            >>> Places.by_prompt(torch.tensor([0, 1, 1, 1, 2]), 3, torch.device("cpu")).taken
            tensor([0, 3, 4, 5, 6])
        """
        width = int(prompts.bincount().max())
        number = torch.arange(len(prompts)) - torch.searchsorted(prompts, prompts)
        return cls(prompts * width + number, count * width, device)

    @property
    def full(self) -> bool:
        """Whether every row is taken."""
        return len(self.taken) == self.size

    def of(self, rows: Tensor) -> Places:
        """Return the places of some of the responses, by their numbers on the CPU."""
        return Places(self.taken[rows], self.size, self.index.device)

    def spread(self, rows: Tensor) -> Tensor:
        """Put ``[N, ...]`` rows into their places; those that are free get the first, which nobody reads there."""
        return rows if self.full else rows.index_select(0, self._takers)

    def gather(self, spread: Tensor) -> Tensor:
        """Take ``[N, ...]`` rows out of their places."""
        return spread if self.full else spread.index_select(0, self.index)

    def write(self, rows: Tensor, into: Tensor) -> None:
        """Put ``[N, ...]`` rows into their places in a tensor, in its type."""
        if self.full:
            into.copy_(rows)
        else:
            into.index_copy_(0, self.index, rows.to(into.dtype))
