"""Which phase a run is in, and how long each took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

Phase = Literal["rollout", "teacher", "reward", "update", "collective", "waiting", "validation"]
"""The policy samples; a teacher answers or scores; rewards score; a forward pass, a backward pass or the optimizer
runs; the other ranks are waited for; data is waited for between two steps; all of a validation."""
PHASES: tuple[Phase, ...] = get_args(Phase)


@dataclass
class Span:
    """How many seconds a phase took from its begin to its end, other phases within it too."""

    seconds: float = 0.0


class _State(NamedTuple):
    """All that a clock knows, exchanged as a whole, so that another thread never reads one half of a change.

    Args:
        totals: Seconds in each phase until ``since``.
        open: Phases that have begun and when, the innermost last.
        since: When the innermost phase began or was returned to.
    """

    totals: dict[Phase, float]
    open: tuple[tuple[Phase, float], ...]
    since: float


class PhaseClock:
    """Counts the time of a run by phases. A phase within another interrupts it, so that no second counts twice.

    All of a validation is one phase, whatever begins within it. Any thread may read the clock; the one that runs the
    phases moves it.

    Args:
        now: Returns the time in seconds.

    Example:
        >>> times = iter([0.0, 1.0, 2.0, 5.0, 7.0])
        >>> clock = PhaseClock(now=lambda: next(times))
        >>> with clock.running(), phase("rollout"):  # from 1 to 7
        ...     with phase("teacher"):  # from 2 to 5
        ...         pass
        >>> clock.totals["rollout"], clock.totals["teacher"]
        (3.0, 3.0)
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.now = now
        self._state = _State(dict.fromkeys(PHASES, 0.0), (), now())

    @property
    def totals(self) -> dict[Phase, float]:
        """Seconds in each phase that have been counted; those in the phase that lasts are added when it changes."""
        return dict(self._state.totals)

    def read(self) -> dict[Phase, float]:
        """Return the seconds in each phase until now."""
        return self._settled(self._state, self.now())

    def current(self) -> tuple[Phase | None, float]:
        """Return the innermost phase, ``None`` between two, and for how many seconds it has lasted."""
        open_phases = self._state.open
        if not open_phases:
            return None, 0.0
        name, began = open_phases[-1]
        return name, self.now() - began

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within this context :func:`phase` moves this clock."""
        before = self.start()
        try:
            yield
        finally:
            self.stop(before)

    def start(self) -> PhaseClock | None:
        """Let :func:`phase` move this clock from now on, and return the clock that it moved before."""
        before = _running.get()
        _running.set(self)
        return before

    def stop(self, before: PhaseClock | None = None) -> None:
        """Let :func:`phase` move another clock, or none, and end all phases that have begun."""
        while self._state.open:
            self.leave()
        _running.set(before)

    def enter(self, name: Phase) -> None:
        """Begin a phase."""
        state, now = self._state, self.now()
        name = "validation" if state.open and state.open[0][0] == "validation" else name
        self._state = _State(self._settled(state, now), (*state.open, (name, now)), now)

    def leave(self) -> None:
        """End the innermost phase, and return to the one around it."""
        state, now = self._state, self.now()
        self._state = _State(self._settled(state, now), state.open[:-1], now)

    @staticmethod
    def _settled(state: _State, now: float) -> dict[Phase, float]:
        totals = dict(state.totals)
        if state.open:
            totals[state.open[-1][0]] += now - state.since
        return totals


_running: ContextVar[PhaseClock | None] = ContextVar("phase_clock", default=None)


@contextmanager
def phase(name: Phase) -> Iterator[Span]:
    """Within this context, or this decorated function, the run is in a phase; without a run only the span is timed.

    Args:
        name: Of the phase.

    Example:
        >>> with phase("reward") as scoring:
        ...     pass
        >>> scoring.seconds < 60
        True
    """
    clock, span, began = _running.get(), Span(), time.perf_counter()
    if clock is not None:
        clock.enter(name)
    try:
        yield span
    finally:
        if clock is not None:
            clock.leave()
        span.seconds = time.perf_counter() - began
