"""Reporting that a server is slow or fails."""

from __future__ import annotations

import time

from lightning.pytorch.utilities import rank_zero_info

from lightning_gft.pauses import GrowingPauses

_QUIET = 10.0
"""Seconds before the first report of a wait, and between the first two reports."""


class Teller:
    """Reports the first retried failure at once and a long wait after a while, then at growing intervals.

    Args:
        address: Address of the server.
        max_retries: Largest number of times that a request is sent again, for the message.
    """

    def __init__(self, address: str, max_retries: int) -> None:
        self._address, self._max_retries = address, max_retries
        self._failure = ""
        self._pauses = GrowingPauses(_QUIET)

    def failed(self, what: str) -> None:
        """Report a transient failure of a request.

        Args:
            what: Short description of the failure, such as ``"status 500"``.
        """
        self._failure = what
        if self._max_retries and time.monotonic() >= self._pauses.due:
            self._tell(f"{what}; failed requests are sent again, up to max_retries={self._max_retries} times each")

    def waiting(self, since: float, missing: int) -> None:
        """Report a wait for replies.

        Args:
            since: Start of the wait, by ``time.monotonic``.
            missing: Number of missing replies.
        """
        now = time.monotonic()
        if now >= max(self._pauses.due, since + _QUIET):
            failure = f"; last failure: {self._failure}" if self._failure else ""
            self._tell(f"waiting for {missing} replies, for {now - since:.0f} s now{failure}")

    def _tell(self, text: str) -> None:
        self._pauses.reported(time.monotonic())
        rank_zero_info(f"EndpointSource: {self._address}: {text}")
