"""What is said of a reward that fails."""

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
    """A reward failed, or gave something that is no score.

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
    """What became of an item of a :class:`~lightning_gft.rewards.pool.WorkerPool` that has no result.

    Attributes:
        kind: ``"timeout"`` and ``"memory"`` for the limits, ``"crash"`` where the process ended, ``"error"`` where the
            task raised, or an item or a result cannot be sent.
        message: What happened, and where.

    Example:
        >>> Failed("timeout", "took longer than 5 s, and its process was killed").kind
        'timeout'
    """

    kind: FailureKind
    message: str


def describe(error: BaseException) -> str:
    """Say what went wrong and, in a function of the user's, where; what this package raises says it in words."""
    if isinstance(error, RewardError):
        return str(error)
    return f"raised {type(error).__name__}{_where(error)}: {_in_one_line(shorten_text(error))}"


def _where(error: BaseException) -> str:
    """Say in which function of the user's, and in which function that this one calls, if it is another."""
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
    """Return whether an error is a request to stop, by a signal, that only arrived while a reward was running.

    A ``SystemExit`` of the reward's own is none: it would end the run as if it had done its work.
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
