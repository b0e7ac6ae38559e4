"""Long waits and draws: a request to stop the run ends them early, and reports about them come ever less often."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar


class StepAbandonedError(SystemExit):
    """A request to stop has ended a draw or a wait within a step; the step has trained nothing."""


class StopPoints:
    """What a request to stop does at the points of a run where work can end early; here, nothing."""

    def check_wait(self) -> None:
        """Raise to end a wait for something outside of the run."""

    def check_draw(self) -> None:
        """Raise to end a draw of responses."""

    def abandonable(self) -> AbstractContextManager[None]:
        """Return the context of :func:`abandonable`."""
        return nullcontext()

    def all_drawn(self) -> None:
        """Agree as :func:`all_drawn` does."""


# Each thread has its own: an exception raised by a check ends the run only in the run's thread.
_check: ContextVar[Callable[[], None]] = ContextVar("check", default=lambda: None)
_stop: ContextVar[StopPoints] = ContextVar("stop", default=StopPoints())  # noqa: B039 (has no state)


@contextmanager
def ending_waits(check: Callable[[], None]) -> Iterator[None]:
    """Set a function that waiting parts call within this context, after those of outer contexts; it ends the wait.

    Args:
        check: Function that is called about once a second, in the waiting thread, and raises to end the wait.

    Example:
        >>> with ending_waits(lambda: print("the run")), ending_waits(lambda: print("the transfer")):
        ...     check_wait()
        the run
        the transfer
    """
    outer = _check.get()

    def both() -> None:
        outer()
        check()

    token = _check.set(both)
    try:
        yield
    finally:
        _check.reset(token)


@contextmanager
def stopping_at(stop: StopPoints) -> Iterator[None]:
    """Let a request to stop act at the points of this context where work can end early.

    Args:
        stop: What the request does there.
    """
    token = _stop.set(stop)
    try:
        with ending_waits(stop.check_wait):
            yield
    finally:
        _stop.reset(token)


def check_wait() -> None:
    """Raise if the run was asked to stop; a part that waits for long calls this about once a second.

    Example:
        >>> def check():
        ...     raise SystemExit(143)
        >>> with ending_waits(check):
        ...     check_wait()
        Traceback (most recent call last):
        SystemExit: 143
        >>> check_wait()
    """
    _check.get()()


def check_draw() -> None:
    """Raise if the run was asked to stop, and can abandon its draw; an engine that computes calls this at each token.

    Unlike a wait, a draw ends by itself. It is therefore finished where ranks could not abandon it together.
    """
    _stop.get().check_draw()


def abandonable() -> AbstractContextManager[None]:
    """Return a context of draws that a request to stop may end, on all ranks or on none; all ranks enter it together.

    Within it, no collective may come before :func:`all_drawn`: a rank that ends its draw early goes there directly.
    """
    return _stop.get().abandonable()


def all_drawn() -> None:
    """Raise if any rank has abandoned its draws; all ranks call this together, once in :func:`abandonable`."""
    _stop.get().all_drawn()


class GrowingPauses:
    """When to report again about something that lasts: after a pause that doubles with each report.

    Args:
        first: Seconds of the first pause.
        longest: Seconds of the longest pause.

    Attributes:
        due: Time from which the next report is due.

    Example:
        >>> pauses = GrowingPauses(10)
        >>> for now in (0, 10, 30):
        ...     pauses.reported(now)
        >>> pauses.due
        70
    """

    def __init__(self, first: float, longest: float = 600.0) -> None:
        self._seconds, self._longest = first, longest
        self.due = 0.0

    def postpone(self, now: float) -> None:
        """Begin the current pause again, because something else was reported."""
        self.due = now + self._seconds

    def reported(self, now: float) -> None:
        """Begin a pause, and make the one after it longer."""
        self.postpone(now)
        self._seconds = min(2 * self._seconds, self._longest)
