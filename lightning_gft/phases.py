"""Tracks the phase of a run, measures the time in each phase, and counts what a draw has drawn so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

Phase = Literal["rollout", "teacher", "reward", "update", "collective", "waiting", "validation"]
"""The policy samples; a teacher answers or scores; rewards score; a forward pass, a backward pass or the optimizer
runs; the rank waits for other ranks; the rank waits for data between two steps; a whole validation."""
PHASES: tuple[Phase, ...] = get_args(Phase)


@dataclass
class Span:
    """Seconds from the begin to the end of a phase, including the phases within it."""

    seconds: float = 0.0


class DrawCounts:
    """Counts of a draw of responses so far; one thread counts, any thread may read.

    Args:
        total: Number of responses that the draw will return.

    Attributes:
        responses: Responses that have ended.
        tokens: Tokens of all responses, ended or not.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.responses = self.tokens = 0

    def add(self, responses: int, tokens: int) -> None:
        """Count further responses and tokens."""
        self.responses += responses
        self.tokens += tokens


class _State(NamedTuple):
    """The state of a clock, replaced as a whole, so that another thread never reads a partial change.

    Args:
        totals: Seconds in each phase until ``since``.
        open: Phases that have begun, with their start times; the innermost is last.
        since: Time at which the innermost phase began or continued.
    """

    totals: dict[Phase, float]
    open: tuple[tuple[Phase, float], ...]
    since: float


class PhaseClock:
    """Measures the time of a run by phases. An inner phase interrupts the outer one, so no second counts twice.

    A whole validation is one phase, whatever begins within it. Any thread may read the clock; only the thread that runs
    the phases advances it.

    Args:
        now: Returns the time in seconds.

    Attributes:
        draw: Counts of the draw that the run makes or waits for; ``None`` if there is none, or they are unknown.

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
        self.draw: DrawCounts | None = None
        self._state = _State(dict.fromkeys(PHASES, 0.0), (), now())

    @property
    def totals(self) -> dict[Phase, float]:
        """Seconds in each phase that have been counted; the current phase is added when it changes."""
        return dict(self._state.totals)

    def read(self) -> dict[Phase, float]:
        """Return the seconds in each phase until now, including the current phase."""
        return self._settled(self._state, self.now())

    def current(self) -> tuple[Phase | None, float]:
        """Return the innermost phase, or ``None`` between two phases, and its seconds so far."""
        open_phases = self._state.open
        if not open_phases:
            return None, 0.0
        name, began = open_phases[-1]
        return name, self.now() - began

    @contextmanager
    def running(self) -> Iterator[None]:
        """Context in which :func:`phase` advances this clock."""
        before = self.start()
        try:
            yield
        finally:
            self.stop(before)

    def start(self) -> PhaseClock | None:
        """Let :func:`phase` advance this clock from now on, and return the clock that it advanced before."""
        before = _running.get()
        _running.set(self)
        return before

    def stop(self, before: PhaseClock | None = None) -> None:
        """Let :func:`phase` advance another clock, or none, and end all open phases."""
        while self._state.open:
            self.leave()
        _running.set(before)

    def enter(self, name: Phase) -> None:
        """Begin a phase."""
        state, now = self._state, self.now()
        name = "validation" if state.open and state.open[0][0] == "validation" else name
        self._state = _State(self._settled(state, now), (*state.open, (name, now)), now)

    def leave(self) -> None:
        """End the innermost phase, and continue the one around it."""
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
    """Context, or decorator, in which the run is in a phase; without a run only the span is timed.

    Args:
        name: Name of the phase.

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


_counts: ContextVar[DrawCounts | None] = ContextVar("draw_counts", default=None)


@contextmanager
def counting(draw: DrawCounts) -> Iterator[None]:
    """Context in which a draw is made or waited for: engines add to its counts, and the run's clock shows them.

    Args:
        draw: Counts of the draw.

    Example:
        >>> clock, draw = PhaseClock(), DrawCounts(total=8)
        >>> with clock.running(), counting(draw):
        ...     draw_counts().add(responses=1, tokens=20)
        ...     clock.draw.responses
        1
        >>> clock.draw is None
        True
    """
    clock, token = _running.get(), _counts.set(draw)
    before = None if clock is None else clock.draw
    if clock is not None:
        clock.draw = draw
    try:
        yield
    finally:
        _counts.reset(token)
        if clock is not None:
            clock.draw = before


def draw_counts() -> DrawCounts:
    """Return the counts that an engine adds to; outside of :func:`counting`, counts that nothing shows."""
    return _counts.get() or DrawCounts(0)
