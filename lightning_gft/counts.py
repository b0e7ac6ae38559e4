"""Counts of a part, which another thread may add to while they are read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable


class Counts:
    """Counts by name since the last reset. A count between :meth:`compute` and :meth:`reset` belongs to the next step.

    Args:
        names: Names that :meth:`compute` returns, those with a count of 0 included.

    Attributes:
        totals: All counts so far; each name is added to by one thread alone, and none is ever set back.

    Example:
        >>> counts = Counts(["requests"])
        >>> counts.totals["requests"] += 1
        >>> counts.compute()
        {'requests': 1.0}
        >>> counts.totals["requests"] += 2
        >>> counts.reset()
        >>> counts.compute()
        {'requests': 2.0}
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.totals: defaultdict[str, float] = defaultdict(float)
        self._names = tuple(names)
        self._before: dict[str, float] = {}
        self._computed: dict[str, float] | None = None

    def compute(self) -> dict[str, float]:
        """Return the counts since :meth:`reset`."""
        self._computed = dict(self.totals)
        return {name: self._computed.get(name, 0.0) - self._before.get(name, 0.0) for name in self._names}

    def reset(self) -> None:
        """Begin anew, with the counts that were added since :meth:`compute`."""
        self._before = dict(self.totals) if self._computed is None else self._computed
        self._computed = None
