"""Handles what is no failure of the program: Ctrl-C, and a reader of its output that has left."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any, TextIO, cast

from lightning_gft.cli.reporting import report


@contextmanager
def quiet_ends() -> Iterator[None]:
    """Context in which Ctrl-C ends the program with one line, and a closed standard output without any.

    The exit status is 128 plus the number of the signal, SIGINT or SIGPIPE, as in shells.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # here, where a closed pipe can be caught, not while the interpreter exits
    except KeyboardInterrupt:
        report("interrupted")
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        if not _output_is_closed():
            raise
        _discard(sys.stdout)
        sys.exit(128 + signal.SIGPIPE)


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Context of imports, in which Ctrl-C ends the process: libraries may catch the error that it would raise.

    Nothing exists yet that would have to be closed. A handler of another program stays, and so does one of a thread.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _end_now)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end_now(*_: object) -> None:
    with suppress(Exception):  # the signal may have interrupted a write, or the reader may have left
        sys.stdout.flush()
    os.write(2, b"error: interrupted\n")
    os._exit(128 + signal.SIGINT)


@contextmanager
def lasting_output() -> Iterator[None]:
    """Context in which the program continues when the reader of standard output has left; the rest is discarded.

    A training of days must not end because ``head`` has ended. rich, which prints tables, would exit.
    """
    with redirect_stdout(cast("TextIO", _LastingOutput(sys.stdout))):
        yield


class _LastingOutput:
    """A stream whose reader may leave.

    Args:
        stream: The stream that it writes to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            _discard(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            _discard(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _discard(stream: TextIO) -> None:
    """Let a stream's remaining output, also what it has buffered, end nowhere."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def _output_is_closed() -> bool:
    """Return whether the other end of standard output is gone; a failed write may leave nothing to flush."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)  # for errors alone, which are always reported
    return bool(output.poll(0))
