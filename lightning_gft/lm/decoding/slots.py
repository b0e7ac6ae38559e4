"""Slots in a larger tensor, one for each unfinished response."""

from __future__ import annotations

import torch
from torch import Tensor


class Slots:
    """Slots of ``N`` responses among ``size`` rows.

    Args:
        taken: ``[N]``, the row of each response, on the CPU, increasing.
        size: Number of rows, of which some may be free.
        device: Device of the tensors that have these rows.

    Example:
        >>> slots = Slots(torch.tensor([0, 2]), 3, torch.device("cpu"))
        >>> spread = slots.spread(torch.tensor([5, 7]))
        >>> spread
        tensor([5, 5, 7])
        >>> slots.gather(spread)
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
    def filling(cls, size: int, device: torch.device) -> Slots:
        """Return slots that take every row."""
        return cls(torch.arange(size), size, device)

    @classmethod
    def by_prompt(cls, prompts: Tensor, count: int, device: torch.device) -> Slots:
        """Return slots with the same number of rows for each of ``count`` prompts.

        Args:
            prompts: ``[N]``, the prompt of each response, on the CPU, increasing.
            count: Number of prompts, with or without responses.
            device: Device of the tensors that have these rows.

        Example:
            >>> Slots.by_prompt(torch.tensor([0, 1, 1, 1, 2]), 3, torch.device("cpu")).taken
            tensor([0, 3, 4, 5, 6])
        """
        width = int(prompts.bincount().max())
        number = torch.arange(len(prompts)) - torch.searchsorted(prompts, prompts)
        return cls(prompts * width + number, count * width, device)

    @property
    def full(self) -> bool:
        """Whether every row is taken."""
        return len(self.taken) == self.size

    def of(self, rows: Tensor) -> Slots:
        """Return the slots of some of the responses."""
        return Slots(self.taken[rows], self.size, self.index.device)

    def spread(self, rows: Tensor) -> Tensor:
        """Copy ``[N, ...]`` rows into their slots; free slots repeat the first row and are never read."""
        return rows if self.full else rows.index_select(0, self._takers)

    def gather(self, spread: Tensor) -> Tensor:
        """Return the ``[N, ...]`` rows in these slots."""
        return spread if self.full else spread.index_select(0, self.index)

    def write(self, rows: Tensor, into: Tensor) -> None:
        """Write ``[N, ...]`` rows into their slots of a tensor, converted to its data type."""
        if self.full:
            into.copy_(rows)
        else:
            into.index_copy_(0, self.index, rows.to(into.dtype))
