"""Selecting the rows of the data that are used."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from lightning_gft.data.columns import Row


class RowFilter(ABC):
    """Selects the training rows that are used, after splits, slices and held-out rows have been taken.

    Example:
        >>> class Short(RowFilter):
        ...     def keep(self, rows):
        ...         return [len(row["prompt"]) < 10 for row in rows]
        >>> Short().keep([{"prompt": "1 + 1?"}])
        [True]
    """

    @abstractmethod
    def keep(self, rows: Sequence[Row]) -> Sequence[bool]:
        """Return for each row whether it is used.

        Args:
            rows: All training rows, with the values of the data.

        Raises:
            ValueError: If no row is used.
        """
