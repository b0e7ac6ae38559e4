"""Saying that a server is slow or fails."""

from __future__ import annotations

import time

from lightning.pytorch.utilities import rank_zero_info

_QUIET = 10.0
"""Seconds before the first line about a wait, and between the first two lines; doubled after each line."""
_LONGEST_QUIET = 600.0


class Teller:
    """Says the first failure that is retried at once, and a long wait after a while; then less and less often.

    Args:
        address: The server's.
        max_retries: How often a request is sent again.
    """

    def __init__(self, address: str, max_retries: int) -> None:
        self._address, self._max_retries = address, max_retries
        self._failure = ""
        self._quiet, self._due = _QUIET, 0.0

    def failed(self, what: str) -> None:
        """Say that a request has failed in a way that may pass.

        Args:
            what: In a few words, such as ``"status 500"``.
        """
        self._failure = what
        if self._max_retries and time.monotonic() >= self._due:
            self._tell(f"{what}; requests that fail are sent again, up to max_retries={self._max_retries} times each")

    def waiting(self, since: float, missing: int) -> None:
        """Say that replies are waited for.

        Args:
            since: When the wait began, by ``time.monotonic``.
            missing: How many replies are missing.
        """
        now = time.monotonic()
        if now >= max(self._due, since + _QUIET):
            failure = f"; last failure: {self._failure}" if self._failure else ""
            self._tell(f"waiting for {missing} replies, for {now - since:.0f} s now{failure}")

    def _tell(self, text: str) -> None:
        self._due = time.monotonic() + self._quiet
        self._quiet = min(2 * self._quiet, _LONGEST_QUIET)
        rank_zero_info(f"EndpointSource: {self._address}: {text}")
