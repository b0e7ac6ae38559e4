"""Ends that are no failure of the program: Ctrl-C, and a reader of its output that has left."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_ends() -> Iterator[None]:
    """Within this context Ctrl-C ends the program with a line, and a closed standard output without any.

    The exit status is 128 plus the number of the signal, SIGINT or SIGPIPE, as shells have it.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # here, where a closed pipe is known from a failure, not as the interpreter ends
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        if not _output_is_closed():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left goes nowhere
        sys.exit(128 + signal.SIGPIPE)


def _output_is_closed() -> bool:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return True
    return False
