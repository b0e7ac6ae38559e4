"""The figures of a stage that rules compare."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from statistics import fmean
from typing import Any

_FIRST = 20
"""Values of a figure that are kept from the start of a stage."""
_LAST = 100
"""Most recent values of a figure that are kept."""
_RATE = "train/learning_rate"


class History:
    """The first 20 and the last 100 values of each figure within a stage of a run, without values that are not finite.

    A step that does not log a figure leaves its values unchanged: windows count values, which for most figures are
    steps.

    Args:
        uses_advantages: Whether the loss compares the responses of a group.
        in_place: Classes and options that the run has already, see
            :func:`~lightning_gft.callbacks.advice.in_place.names_in_place`.
        failing: Rewards that fail on most responses, see :func:`~lightning_gft.rewards.items.describe_failing`.

    Example:
        >>> history = History(uses_advantages=True)
        >>> for reward in (0.0, 0.5, 1.0):
        ...     history.add({"train/reward": reward})
        >>> history.mean("train/reward", 2), history.first_mean("train/reward", 2), history.mean("train/reward", 4)
        (0.75, 0.25, None)
    """

    def __init__(
        self, uses_advantages: bool = False, in_place: frozenset[str] = frozenset(), failing: str = ""
    ) -> None:
        self.uses_advantages, self.in_place, self.failing = uses_advantages, in_place, failing
        self._first: dict[str, list[float]] = {}
        self._last: dict[str, deque[float]] = {}
        self._counts: dict[str, int] = {}
        self._highest_rate = 0.0

    def add(self, figures: Mapping[str, float]) -> None:
        """Add the figures of a step or of a validation."""
        for name, value in figures.items():
            if not math.isfinite(value):
                continue
            first = self._first.setdefault(name, [])
            if len(first) < _FIRST:
                first.append(value)
            self._last.setdefault(name, deque(maxlen=_LAST)).append(value)
            self._counts[name] = self._counts.get(name, 0) + 1
        self._highest_rate = max(self._highest_rate, figures.get(_RATE, 0.0))

    def has(self, *names: str) -> bool:
        """Return whether any of these classes and options is in place."""
        return not self.in_place.isdisjoint(names)

    def names(self) -> list[str]:
        """Return the names of all figures logged so far."""
        return list(self._last)

    def count(self, name: str) -> int:
        """Return the number of values that a figure has had."""
        return self._counts.get(name, 0)

    def last(self, name: str, number: int) -> list[float]:
        """Return the last ``number`` values of a figure, or an empty list if there are fewer."""
        values = self._last.get(name, ())
        return [*values][-number:] if len(values) >= number else []

    def recent(self, name: str) -> list[float]:
        """Return the most recent values of a figure, as many as are kept."""
        return [*self._last.get(name, ())]

    def mean(self, name: str, number: int) -> float | None:
        """Return the mean of the last ``number`` values of a figure, or ``None`` if there are fewer."""
        values = self.last(name, number)
        return fmean(values) if values else None

    def first(self, name: str, number: int) -> list[float]:
        """Return the first ``number`` values of a figure, or an empty list if there are fewer."""
        values = self._first.get(name, [])
        return values[:number] if len(values) >= number else []

    def first_mean(self, name: str, number: int) -> float | None:
        """Return the mean of the first ``number`` values of a figure, or ``None`` if there are fewer."""
        values = self.first(name, number)
        return fmean(values) if values else None

    def at_full_rate(self, number: int) -> bool:
        """Return whether the last steps were neither in a warm-up of the learning rate nor far down its decay."""
        rates = self.last(_RATE, number)
        return bool(rates) and min(rates) >= self._highest_rate / 2 and rates[-1] <= 1.01 * rates[0]

    def state_dict(self) -> dict[str, Any]:
        """Return the kept values."""
        last = {name: [*values] for name, values in self._last.items()}
        return {"first": self._first, "last": last, "counts": self._counts, "highest_rate": self._highest_rate}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the kept values.

        Args:
            state_dict: The result of :meth:`state_dict`.
        """
        self._first = {name: [*values] for name, values in state_dict["first"].items()}
        self._last = {name: deque(values, maxlen=_LAST) for name, values in state_dict["last"].items()}
        self._counts = dict(state_dict["counts"])
        self._highest_rate = state_dict["highest_rate"]
