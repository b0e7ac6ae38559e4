"""Figures of a teacher behind a server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from lightning_gft.checks import shorten

_NAMES = ("requests", "retries", "tokens", "seconds", "replies", "cached", "cut", "dropped", "not_rerendered")


class Figures:
    """Counts, which another thread may add to while they are read.

    Attributes:
        counts: All that was counted so far; each name is added to by one thread alone, and none is ever set back.

    Example:
        >>> figures = Figures()
        >>> figures.counts["requests"] += 1
        >>> figures.compute()["requests"]
        1.0
        >>> figures.counts["requests"] += 2
        >>> figures.reset()
        >>> figures.compute()["requests"]
        2.0
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._before: Counter[str] = Counter()
        self._computed: Counter[str] | None = None
        self._warned: set[str] = set()

    def compute(self) -> dict[str, float]:
        """Return what was counted since :meth:`reset`."""
        self._computed = Counter(self.counts)
        return {name: float(self._computed[name] - self._before[name]) for name in _NAMES}

    def reset(self) -> None:
        """Begin anew, with what has come in since :meth:`compute`."""
        self._before = self._computed or Counter(self.counts)
        self._computed = None

    def add(self, name: str, amount: Any = 1) -> None:
        """Count something."""
        self.counts[name] += amount

    def warn_of_equal(self, texts: Sequence[Sequence[str]]) -> None:
        """Warn, of the first batch, if the server seems not to draw: equal responses teach no more than one."""
        several = [given for given in texts if len(given) > 1]
        if "equal" not in self._warned and len(several) > 1 and all(len({*given}) == 1 for given in several):
            rank_zero_warn(
                f"EndpointSource: the replies to each of {len(several)} prompts are all equal; let the server draw "
                "(`transformers serve` does if generation_config.json says do_sample: true), or set num_responses=1"
            )
        self._warned.add("equal")

    def left_out(self, name: str, why: str, text: str) -> None:
        """Count a reply that is no demonstration; the first of a name is warned of."""
        self.add(name)
        if name not in self._warned:
            self._warned.add(name)
            rank_zero_warn(
                f"EndpointSource: a teacher's reply {why}, and is left out of its group: {shorten(text)}. More of them "
                f"are counted as `{name}`"
            )
