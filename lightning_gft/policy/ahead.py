"""A draw in another thread while the policy trains."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait

from lightning_gft.errors import GFTRuntimeError
from lightning_gft.phases import DrawCounts, counting
from lightning_gft.types import Response
from lightning_gft.waiting import check_wait, ending_waits

_POLL_SECONDS = 0.5


class AheadDraw:
    """A draw in a thread of its own, which begins immediately.

    Args:
        draw: Function that returns the responses; while it waits, it calls :func:`lightning_gft.waiting.check_wait`.
        counts: Counts that the function adds to.

    Example:
        >>> draw = AheadDraw(lambda: [[Response([1])]], DrawCounts(1))
        >>> draw.responses()[0][0].token_ids
        [1]
    """

    def __init__(self, draw: Callable[[], list[list[Response]]], counts: DrawCounts) -> None:
        self._counts = counts
        self._given_up = threading.Event()
        self._outcome: Future[list[list[Response]]] = Future()
        # A daemon as a last resort: a process that ends without `give_up` must not wait for a server.
        self._thread = threading.Thread(target=self._run, args=(draw,), name="AheadDraw", daemon=True)
        self._thread.start()

    def settle(self) -> None:
        """Wait until the draw has returned or failed; a request to stop the run ends the wait."""
        with counting(self._counts):
            while not wait([self._outcome], _POLL_SECONDS).done:
                check_wait()
        self._thread.join()

    def responses(self) -> list[list[Response]]:
        """Wait for the responses and return them, or raise the error of the draw."""
        self.settle()
        return self._outcome.result()

    def failed(self) -> bool:
        """Return whether a draw that has ended has failed."""
        return self._outcome.exception() is not None

    def give_up(self) -> None:
        """End the draw, at its next check while it waits, and its thread."""
        self._given_up.set()
        self._thread.join()

    def _run(self, draw: Callable[[], list[list[Response]]]) -> None:
        try:
            with ending_waits(self._check), counting(self._counts):
                responses = draw()
        except BaseException as error:  # noqa: BLE001 (raised where the responses are needed)
            self._outcome.set_exception(error)
        else:
            self._outcome.set_result(responses)

    def _check(self) -> None:
        if self._given_up.is_set():
            raise GFTRuntimeError("the draw was abandoned, because the run has ended")
