"""Signs of life: what a run does while it prints nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Lock, Thread

from lightning_gft.cli.pace import Clock, duration
from lightning_gft.pauses import GrowingPauses
from lightning_gft.phases import DrawCounts

_PAUSE = 30.0
"""Seconds without any line before the first sign of life."""
_LOOK_EACH = 1.0
_PATIENCE = 1.0
"""Seconds that the end of a run waits for a line that is being printed."""


class SignsOfLife:
    """Reports what a run is doing when it has printed nothing for long, at growing intervals.

    A thread looks once a second, since the run itself may be within a single long call.

    Args:
        say: Prints a line; called from the thread.
        clock: Returns the time in seconds.

    Example:
        >>> signs = SignsOfLife(print, clock=iter([0.0, 40.0]).__next__)
        >>> signs.doing(lambda: "Step 1")
        >>> signs.look()
        'Step 1, 0:00:40 so far'
    """

    def __init__(self, say: Callable[[str], None], clock: Clock = time.monotonic) -> None:
        self._say, self._clock = say, clock
        self._pauses = GrowingPauses(_PAUSE)
        self._lock = Lock()
        self._work: tuple[Callable[[], str], float] | None = None
        self._ended = Event()
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin to look, if it has not begun."""
        if self._thread is None:
            self._ended = Event()
            self._thread = Thread(target=self._watch, args=(self._ended,), name="signs-of-life", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """End the thread, unless it is blocked by a reader that does not read."""
        self.idle()
        self._ended.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE)
        self._thread = None

    def doing(self, describe: Callable[[], str]) -> None:
        """Begin work.

        Args:
            describe: Returns what the run is doing; called from the thread.
        """
        now = self._clock()
        with self._lock:
            self._work = describe, now
            self._pauses.postpone(now)

    def idle(self) -> None:
        """End the work; what follows it reports nothing."""
        self._work = None

    def printed(self) -> None:
        """Wait for the whole pause again, because another line was printed."""
        with self._lock:
            self._pauses.postpone(self._clock())

    def look(self) -> str | None:
        """Return the line to print now, or ``None``. Any thread may call this method."""
        with self._lock:
            work, now = self._work, self._clock()
            if work is None or now < self._pauses.due:
                return None
            self._pauses.reported(now)
        describe, began = work
        return f"{describe()}, {duration(now - began)} so far"

    def _watch(self, ended: Event) -> None:
        while not ended.wait(_LOOK_EACH):
            if (line := self.look()) is not None:
                self._say(line)


def describe_draw(draw: DrawCounts | None, rank: int | None = None) -> str:
    """Return the counts of a draw as a part of a line; an empty text without a draw.

    Args:
        draw: Counts of the draw.
        rank: Rank that draws, if there are several.

    Example:
        >>> draw = DrawCounts(total=4096)
        >>> draw.add(responses=512, tokens=20000)
        >>> describe_draw(draw)
        ', 512 of 4,096 responses, 20,000 tokens'
    """
    if draw is None:
        return ""
    where = "" if rank is None else f" on rank {rank}"
    return f", {draw.responses:,} of {draw.total:,} responses{where}, {draw.tokens:,} tokens"
