"""What a worker process does for the accuracy of answers. It imports no torch."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any

from lightning_gft.answers.algebra import begin
from lightning_gft.answers.judging import Judge, is_readable
from lightning_gft.rewards.pool import Failed

_SHARE = 0.8


class MathTask:
    """Judges an answer, or says whether a reference can be read.

    An alarm ends what takes too long, shortly before the process would be killed: most of sympy can be interrupted, and
    a new process takes a second to start.

    Args:
        seconds: After which the process is killed.
    """

    def __init__(self, judge: Judge, seconds: float) -> None:
        self.judge = judge
        self.seconds = seconds

    def setup(self) -> None:
        """Load what the first answer would else have to wait for."""
        signal.signal(signal.SIGALRM, _interrupt)
        begin()

    def __call__(self, item: tuple[Sequence[str], Sequence[str]] | str) -> float | Failed:
        """Return 1 where an answer is one of the references, or where a reference can be read, else 0."""
        signal.setitimer(signal.ITIMER_REAL, _SHARE * self.seconds)
        try:
            return float(is_readable(item) if isinstance(item, str) else self.judge.is_right(*item))
        except _LateError:
            return Failed("timeout", f"took longer than seconds={self.seconds:g} allow, and was interrupted")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


class _LateError(BaseException):
    """Not an ``Exception``, which sympy and math-verify would pass over."""


def _interrupt(*_: Any) -> None:
    raise _LateError
