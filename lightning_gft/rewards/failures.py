"""Describes the failures of rewards."""

from __future__ import annotations

import signal
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lightning_gft.errors import GFTRuntimeError
from lightning_gft.rewards.text import shorten_text

_PACKAGE = Path(__file__).parents[1]
_RUNS_US = ("lightning_gft", "lightning", "torch")


class RewardError(GFTRuntimeError):
    """A reward failed, or returned something that is no score.

    Example:
        >>> from lightning_gft.rewards import NumericReward, score_responses
        >>> rewards = {"accuracy": NumericReward()}
        >>> score_responses(rewards, prompts=["1+1="], responses=["2"], references=["two"], columns={})
        Traceback (most recent call last):
        lightning_gft.rewards.failures.RewardError: reward 'accuracy' (NumericReward) raised GFTValueError: ...
    """


FailureKind = Literal["timeout", "memory", "crash", "error"]


@dataclass(frozen=True)
class Failed:
    """The failure of an item of a :class:`~lightning_gft.rewards.pool.WorkerPool`.

    Attributes:
        kind: ``"timeout"`` and ``"memory"`` for the limits, ``"crash"`` if the process ended, ``"error"`` if the task
            raised, or if an item or a result cannot be sent.
        message: Description of the failure and its place.

    Example:
        >>> Failed("timeout", "took longer than 5 s, and its process was killed").kind
        'timeout'
    """

    kind: FailureKind
    message: str


def describe(error: BaseException) -> str:
    """Return what failed and, for an error in a user's function, where; errors of this package describe themselves."""
    if isinstance(error, RewardError):
        return str(error)
    return f"raised {type(error).__name__}{_where(error)}: {_in_one_line(shorten_text(error))}"


def _where(error: BaseException) -> str:
    """Return the user's function in which an error occurred, and the function called from it, if that is another."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [Path(frame.filename).is_relative_to(_PACKAGE) for frame in frames]
    if own[-1]:
        return ""
    entry, last = frames[len(own) - own[::-1].index(True) if any(own) else 0], frames[-1]
    called = "" if entry is last else f", called from {entry.name}, {entry.filename}:{entry.lineno}"
    return f" in {last.name}, {last.filename}:{last.lineno}{called}"


def _in_one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def stops_the_run(error: BaseException) -> bool:
    """Return whether an error is a signal's request to stop, which only arrived while a reward was running.

    A ``SystemExit`` of the reward itself is none: it would end the run as if it had succeeded.
    """
    if isinstance(error, KeyboardInterrupt):
        return True
    if not isinstance(error, SystemExit):
        return False
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    codes = {getattr(handler, "__code__", None) for handler in handlers} - {None}
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    by_run = frames[-1].f_globals.get("__name__", "").split(".")[0] in _RUNS_US
    return by_run or any(frame.f_code in codes for frame in frames)
