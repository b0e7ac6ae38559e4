"""The guard: the parent of one worker, which kills the worker's descendants when the worker or the run ends."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

_LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def guard(line: socket.socket, work: Callable[[], None], channel: socket.socket) -> NoReturn:
    """Fork a worker, wait until it ends or the line closes, kill its descendants, and report its exit status.

    On Linux all descendants are found, even in sessions of their own; elsewhere, those in the worker's process group.

    Args:
        line: Closed by the run to end the worker, or by the kernel once the run has ended.
        work: The worker's main function.
        channel: The worker's channel; this process closes its copy.
    """
    try:
        os.setsid()
        _control_process(_PR_SET_CHILD_SUBREAPER, 1)
        woken, wake = socket.socketpair()
        wake.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        worker = os.fork()
        if worker == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for end in (line, woken, wake):
                end.close()
            os.setpgid(0, 0)
            _control_process(_PR_SET_PDEATHSIG, signal.SIGKILL)  # at the end of this guard, which has one thread
            work()
            os._exit(0)
        channel.close()
        status = _watch(worker, line, woken)
        _end_descendants(worker)
        with suppress(OSError):  # the run may have ended
            line.sendall(b"" if status is None else str(status).encode())
    finally:
        os._exit(0)


def _watch(worker: int, line: socket.socket, woken: socket.socket) -> int | None:
    while True:
        if line in select.select([line, woken], [], [])[0]:
            os.kill(worker, signal.SIGKILL)
            return None
        woken.recv(2**12)
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == worker:
                return os.waitstatus_to_exitcode(ended[1])


def _end_descendants(worker: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(worker, signal.SIGKILL)
    with suppress(ChildProcessError):  # none is left
        while _LINUX:  # orphans become children of this process there, one generation after another
            if os.waitpid(-1, os.WNOHANG)[0]:
                continue
            for child in _children():
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            os.waitpid(-1, 0)


def _children() -> Iterator[int]:
    own = str(os.getpid())
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if stat.read_text(errors="replace").rpartition(")")[2].split()[1] == own:
                yield int(stat.parent.name)


def _control_process(option: int, value: int) -> None:
    if _LINUX:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
