"""Waiting for something outside of the run, such as a server, without delaying a request to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_check: ContextVar[Callable[[], None]] = ContextVar("check", default=lambda: None)
"""Each thread has its own: an exception raised by a check ends the run only in the run's thread."""


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
