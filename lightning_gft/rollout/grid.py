"""Places for the responses to several prompts."""

from __future__ import annotations

import torch
from torch import Tensor


class Grid:
    """``P * K`` places, prompt by prompt, of which fewer and fewer are taken.

    What is taken is kept on the CPU, where it is decided how to go on, and on the device, where it picks rows.

    Args:
        prompts: ``P``
        width: ``K``, places a prompt.
        device: Where the tensors are whose rows the places are.

    Example:
        >>> grid = Grid(prompts=2, width=3, device=torch.device("cpu"))
        >>> grid.keep(torch.tensor([0, 2, 4]))  # of 0, 1, 2 and 3, 4, 5
        >>> grid.places
        tensor([0, 2, 4])
        >>> prompts, places = grid.pack()
        >>> places  # what was in these is now in 0, 1 and 2; the last place, of the second prompt, is free
        tensor([0, 2, 4, 0])
        >>> grid.places
        tensor([0, 1, 2])
    """

    def __init__(self, prompts: int, width: int, device: torch.device) -> None:
        self.prompts = prompts
        self.width = width
        self.device = device
        self._take(torch.arange(prompts * width))

    @property
    def size(self) -> int:
        """Places, taken or not."""
        return self.prompts * self.width

    @property
    def full(self) -> bool:
        """Whether every place is taken."""
        return len(self.places) == self.size

    @property
    def packed_share(self) -> float:
        """How large the grid would be without prompts and columns that it can do without, as a share of its size."""
        return int((self._counts > 0).sum()) * int(self._counts.max()) / self.size

    def keep(self, rows: Tensor) -> None:
        """Free all places but those of some rows.

        Args:
            rows: Which of the places taken, on the CPU and in order.
        """
        self._take(self._taken[rows])

    def pack(self) -> tuple[Tensor, Tensor]:
        """Leave out the prompts that have no place taken, and columns that no prompt has need of.

        Returns:
            The prompts that stay, and for each place of the new grid the old place whose content moves there.
        """
        counts = self._counts
        kept = counts.nonzero().squeeze(1)
        of_prompt = torch.arange(len(kept)).repeat_interleave(counts[kept])
        column = torch.arange(len(self._taken)) - (counts.cumsum(0) - counts)[kept][of_prompt]
        self.prompts, self.width = len(kept), int(counts.max())
        taken = of_prompt * self.width + column
        content = torch.zeros(self.size, dtype=torch.long)  # a free place gets whatever there is
        content[taken] = self._taken
        self._take(taken)
        return kept.to(self.device), content.to(self.device)

    def spread(self, rows: Tensor) -> Tensor:
        """Put rows into their places, with zeros in those that are free.

        Args:
            rows: ``[N, ...]``

        Returns:
            ``[P * K, ...]``
        """
        if self.full:
            return rows
        return rows.new_zeros(self.size, *rows.shape[1:]).index_copy_(0, self.places, rows)

    def gather(self, spread: Tensor) -> Tensor:
        """Take rows out of their places.

        Args:
            spread: ``[P * K, ...]``

        Returns:
            ``[N, ...]``
        """
        return spread if self.full else spread[self.places]

    def _take(self, taken: Tensor) -> None:
        self._taken = taken
        self._counts = torch.bincount(taken // self.width, minlength=self.prompts)
        self.places = taken.to(self.device, non_blocking=True)
