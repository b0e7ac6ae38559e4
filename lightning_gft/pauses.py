"""When to report again about something that lasts: ever less often."""

from __future__ import annotations


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
