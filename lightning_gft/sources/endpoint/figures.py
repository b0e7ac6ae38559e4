"""Figures of a teacher on a server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from lightning_gft.checks import shorten

_NAMES = ("requests", "retries", "tokens", "seconds", "replies", "cached", "cut", "dropped", "not_rerendered")


class Figures:
    """Counts that another thread may increment while they are read.

    Attributes:
        counts: Counts since the start. Only one thread increments each name, and none is ever reset.

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
        """Return the counts since the last :meth:`reset`."""
        self._computed = Counter(self.counts)
        return {name: float(self._computed[name] - self._before[name]) for name in _NAMES}

    def reset(self) -> None:
        """Start again from the counts of the last :meth:`compute`, so that later increments are kept."""
        self._before = self._computed or Counter(self.counts)
        self._computed = None

    def add(self, name: str, amount: Any = 1) -> None:
        """Increment a count."""
        self.counts[name] += amount

    def warn_of_equal(self, texts: Sequence[Sequence[str]]) -> None:
        """Warn once, after the first batch, if all replies to each prompt are equal, as with greedy decoding."""
        several = [given for given in texts if len(given) > 1]
        if "equal" not in self._warned and len(several) > 1 and all(len({*given}) == 1 for given in several):
            rank_zero_warn(
                f"`num_responses` of EndpointSource: expected different replies to a prompt, got equal ones to each of "
                f"{len(several)} prompts; make the server sample (`transformers serve` does so if "
                "generation_config.json sets do_sample: true), or set num_responses=1"
            )
        self._warned.add("equal")

    def left_out(self, name: str, why: str, text: str) -> None:
        """Count a reply that is not used as a demonstration, and warn of the first one of each name."""
        self.add(name)
        if name not in self._warned:
            self._warned.add(name)
            rank_zero_warn(
                f"EndpointSource: a teacher's reply {why}, and is left out of its group: {shorten(text)}. Further ones "
                f"are counted as `{name}`"
            )
