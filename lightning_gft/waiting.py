"""Long waits and draws, which a request to stop the run ends early."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar


class RunStoppedError(SystemExit):
    """The run ends on request, on all ranks; a draw that is not complete is lost."""


class StopPoints:
    """What a request to stop does at the points of a run where work can end early; here, nothing.

    Example:
        >>> class Stop(StopPoints):
        ...     def check_stop(self):
        ...         raise RunStoppedError(143)
        >>> with stopping_at(Stop()):
        ...     check_stop()
        Traceback (most recent call last):
        lightning_gft.waiting.RunStoppedError: 143
    """

    def check_wait(self) -> None:
        """Raise to end a wait for something outside of the run."""

    def check_stop(self) -> None:
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

    A request to stop the run comes before all of them.

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

    Example:
        >>> class Stop(StopPoints):
        ...     def check_wait(self):
        ...         print("asked to stop?")
        >>> with stopping_at(Stop()):
        ...     check_wait()
        asked to stop?
    """
    token = _stop.set(stop)
    try:
        yield
    finally:
        _stop.reset(token)


def check_wait() -> None:
    """Raise if the run was asked to stop; an engine or a source that waits calls this about once a second.

    Example:
        >>> def check():
        ...     raise SystemExit(143)
        >>> with ending_waits(check):
        ...     check_wait()
        Traceback (most recent call last):
        SystemExit: 143
        >>> check_wait()
    """
    _stop.get().check_wait()
    _check.get()()


def check_stop() -> None:
    """Raise if the run was asked to stop, and can abandon its draw; an engine that computes calls this at each token.

    Unlike a wait, a draw ends by itself. It is therefore finished where ranks could not abandon it together.

    Example:
        >>> for token in range(3):
        ...     check_stop()  # without a request, a draw continues
    """
    _stop.get().check_stop()


def abandonable() -> AbstractContextManager[None]:
    """Return a context of draws that a request to stop may end, on all ranks or on none.

    All ranks enter it together, except for batches of an evaluation or a prediction that only some ranks have. Within
    it, no collective may come before :func:`all_drawn`: a rank that ends its draw early goes there directly, or to the
    end of the evaluation. Such contexts follow each other; they do not nest.

    Raises:
        RunStoppedError: At the end of the context, if any rank has abandoned its draws.

    Example:
        >>> with abandonable():
        ...     check_stop()
        ...     all_drawn()
    """
    return _stop.get().abandonable()


def all_drawn() -> None:
    """Raise if any rank has abandoned its draws; all ranks call this together, once in :func:`abandonable`.

    Raises:
        RunStoppedError: If any rank has.

    Example:
        >>> all_drawn()  # outside of such a context, it does nothing
    """
    _stop.get().all_drawn()
