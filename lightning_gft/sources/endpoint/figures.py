"""Figures of a teacher on a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from lightning_gft.checks import shorten
from lightning_gft.counts import Counts

_NAMES = ("requests", "retries", "tokens", "seconds", "replies", "cached", "cut", "dropped", "not_rerendered")


class Figures(Counts):
    """Counts of replies, and the warnings about them.

    Example:
        >>> figures = Figures()
        >>> figures.add("requests", 2)
        >>> figures.compute()["requests"]
        2.0
    """

    def __init__(self) -> None:
        super().__init__(_NAMES)
        self._warned: set[str] = set()

    def add(self, name: str, amount: Any = 1) -> None:
        """Count something."""
        self.totals[name] += amount

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
