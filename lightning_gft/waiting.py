"""Waits for something outside of the run, such as a server, which a request to stop need not sit out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_check: ContextVar[Callable[[], None]] = ContextVar("check", default=lambda: None)
"""A thread has its own: what a check raises ends the run only where the run is."""


@contextmanager
def ending_waits(check: Callable[[], None]) -> Iterator[None]:
    """Within this context a part that waits calls a function, which raises to end the wait.

    Args:
        check: Is called about once a second, in the thread that waits.
    """
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)


def check_wait() -> None:
    """Raise if the run was asked to stop; a part that waits for long calls it about once a second.

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
