"""A request by Ctrl-C or SIGTERM to stop a run, between two steps or while it samples."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lightning.pytorch.utilities import rank_zero_info, rank_zero_only
from typing_extensions import override

from lightning_gft.distributed import has_several_ranks, on_any_rank
from lightning_gft.waiting import RunStoppedError, StopPoints, stopping_at

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_GRACE = 30.0
"""Seconds that a rank waits for its work to end on all ranks, before it gives up."""


class StopRequest(StopPoints):
    """A request by Ctrl-C or SIGTERM to end this process, at once or after the current work.

    A second signal of either kind always ends the process at once. Python runs no handler while it executes C code, so
    the first signal restores the default effect of both. If the handler could not run at all, a thread ends the
    process, for example in a collective that other ranks never join.

    Example:
        >>> request = StopRequest()
        >>> request.begin_evaluation(shared_batches=2)
        >>> request.next_batch()
        >>> request.signal = signal.SIGTERM  # as the handler does
        >>> request.next_batch()
        Traceback (most recent call last):
        lightning_gft.waiting.RunStoppedError: 143
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._since = 0.0
        self._work: str | None = None  # to be finished before the stop; None stops at once
        self._active = False
        self._agrees_later = False  # whether all ranks are on their way to a point where they agree about it
        # Batches of the evaluation that all ranks still have after the current one; negative in a batch that only some
        # have, infinite in training.
        self._shared_batches = math.inf

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Context in which signals become requests."""
        if threading.current_thread() is not threading.main_thread():  # Python sets handlers only in the main thread
            yield
            return
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        self._active = True
        received, sent = os.pipe()
        os.set_blocking(sent, False)
        wakeup_before = signal.set_wakeup_fd(sent, warn_on_full_buffer=False)
        threading.Thread(target=self._end_at_second, args=(received,), name="signal-observer", daemon=True).start()
        if hasattr(os, "register_at_fork"):  # on platforms that fork
            os.register_at_fork(after_in_child=self._leave_to_parent)
        self.listen()
        try:
            with stopping_at(self):
                yield
        finally:
            self._active = False
            signal.set_wakeup_fd(wakeup_before)
            os.close(sent)
            for number, handler in before.items():
                signal.signal(number, handler)

    def listen(self) -> None:
        """Set the handlers again if other code has replaced them in the meantime, as Lightning does."""
        if self._active and self.signal is None:
            for number in _SIGNALS:
                signal.signal(number, self._ask)

    def finish(self, work: str) -> None:
        """Delay requests until the current work, such as a ``"step"``, is done."""
        self._work = work
        self.listen()

    def release(self) -> None:
        """Let a request end the process at once."""
        self._work = None

    def begin_evaluation(self, shared_batches: float) -> None:
        """Begin batches that not all ranks have in the same number; :meth:`next_batch` comes before each of them.

        Args:
            shared_batches: Number of batches that every rank has, within which ranks agree as they do in training.
                A rank with further ones agrees about them in :meth:`end_evaluation`.
        """
        self._shared_batches = shared_batches

    def next_batch(self) -> None:
        """Raise on all ranks if one of them was asked to stop; every rank calls this before each of its batches.

        Raises:
            RunStoppedError: If the run is to end before this batch.
        """
        self._shared_batches -= 1
        if self._is_shared or self.signal is not None:
            self._agree(self.signal is not None)

    def end_evaluation(self) -> None:
        """Raise on all ranks if one of them has left a batch that others do not have; all ranks call this together.

        A request in the last batch of a rank does not count: the evaluation is complete.

        Raises:
            RunStoppedError: If the run is to end without the figures of this evaluation.
        """
        self._agree(False)
        self._shared_batches = math.inf

    @override
    def check_stop(self) -> None:
        if self.signal is not None and self._agrees_later:
            raise RunStoppedError(self._status)

    @override
    @contextmanager
    def abandonable(self) -> Iterator[None]:
        self._agrees_later = self._work is not None  # else a request ends the process at once, as in a sanity check
        try:
            yield
            self.all_drawn()  # unless the sampler has called it
        except RunStoppedError:
            rank_zero_info("Sampling was abandoned; the next run samples these prompts again")
            if self._agrees_later:
                self._agree(True)
            raise
        finally:
            self._agrees_later = False

    @override
    def all_drawn(self) -> None:
        if self._agrees_later and self._is_shared:
            self._agree(False)

    @property
    def _is_shared(self) -> bool:
        """Whether all ranks have the current batch."""
        return self._shared_batches >= 0

    @property
    def _status(self) -> int:
        return 128 + (self.signal or signal.SIGTERM)

    def _agree(self, stops: bool) -> None:
        """Raise on all ranks if any of them stops; the next agreement of each rank is the same one."""
        self._agrees_later = False  # what follows may be a collective
        if on_any_rank(stops):
            raise RunStoppedError(self._status)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:  # Lightning has restored this handler
            os._exit(128 + number)
        self.signal, self._since = number, time.monotonic()
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            what = (
                "Stopped"
                if self._work is None
                else f"Stopping as soon as this {self._work} can end; once more to stop at once"
            )
            os.write(2, f"{what}\n".encode())  # not `print`: the signal may have interrupted one
        if self._work is None:
            raise SystemExit(128 + number)

    @override
    def check_wait(self) -> None:
        """End a wait for a server: completed answers are kept, and a resumed run requests the rest."""
        if self.signal is None:
            return
        if self._agrees_later or not has_several_ranks():
            raise RunStoppedError(self._status)
        self._end_alone()

    def _end_alone(self) -> None:
        """End this process as a second signal does: not all ranks come to a point where they could agree."""
        if time.monotonic() - self._since > _GRACE:
            os.write(2, b"Stopped while waiting for a server; resume from the last checkpoint\n")
            os._exit(self._status)

    def _leave_to_parent(self) -> None:
        """Let the parent, not Ctrl-C, end a forked process such as a worker of a data loader."""
        if self._active:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _end_at_second(self, received: int) -> None:
        """End the process at the second signal; returns when the end of listening closes the pipe."""
        numbers: list[int] = []
        while content := os.read(received, 64):
            numbers += [number for number in content if number in _SIGNALS]
            if len(numbers) > 1 and self._active:
                os._exit(128 + numbers[-1])
        os.close(received)
