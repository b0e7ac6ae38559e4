"""Handles ends that are no failure of the program: Ctrl-C, and a closed pipe of its output."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


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
        sys.stderr.write("error: interrupted\n")
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        if not _output_is_closed():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # discard the remaining output
        sys.exit(128 + signal.SIGPIPE)


def _output_is_closed() -> bool:
    """Return whether the other end of standard output is gone; a failed write may leave nothing to flush."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)  # for errors alone, which are always reported
    return bool(output.poll(0))
