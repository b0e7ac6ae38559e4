"""The guard: the parent of one process, which ends that process and its descendants when the process or the run ends.

This file is also a program (:func:`main`), so it imports only the standard library.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

_LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_INTERVAL = 0.05
_FAILED, _CANNOT_RUN = 1, 127
"""Exit statuses after an exception, and of a program that cannot be run, as in shells."""


def guard(
    line: socket.socket, work: Callable[[], None], channel: socket.socket | None = None, grace: float = 0.0
) -> NoReturn:
    """Fork a worker, wait until it ends or the line closes, end its descendants, and report its exit status.

    On Linux all descendants are found, even in sessions of their own; elsewhere, only the worker's process group.
    This process leads a session and ignores the signals by which a terminal or a scheduler ends a whole job.

    Args:
        line: Socket to the run. The run closes it to end the worker, and the kernel closes it when the run has ended.
        work: Function that the worker runs.
        channel: The worker's socket, of which this process closes its copy.
        grace: Seconds from SIGTERM for the worker's group to SIGKILL; 0 sends SIGKILL at once.
    """
    try:
        _control_process(_PR_SET_CHILD_SUBREAPER, 1)
        woken, wake = socket.socketpair()
        wake.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        ignored = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
        # A signal that comes before the worker runs must end it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ignored)
        worker = os.fork()
        if worker == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for end in (line, woken, wake):
                end.close()
            os.setpgid(0, 0)
            _control_process(_PR_SET_PDEATHSIG, signal.SIGKILL)  # when this guard ends; it has one thread
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            work()
            os._exit(0)
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        with suppress(OSError):  # the worker may have done it first
            os.setpgid(worker, worker)
        if channel is not None:
            channel.close()
        status = _watch(worker, line, woken)
        if status is None:  # it still runs
            if grace:
                _terminate(worker, grace)
            else:
                os.kill(worker, signal.SIGKILL)
        _end_descendants(worker)
        with suppress(OSError):  # the run may be gone
            line.sendall(b"" if status is None else str(status).encode())
        os._exit(0)
    except BaseException:  # noqa: BLE001 (of the guard or of its worker: neither may return into the forked code)
        traceback.print_exc()
    finally:
        os._exit(_FAILED)


def main(line: str, grace: str, *command: str) -> NoReturn:
    """Guard a program, which inherits this process's environment and standard streams.

    Args:
        line: File descriptor of the socket to the run, which this process has inherited.
        grace: As in :func:`guard`.
        command: Program and its arguments.
    """
    guard(socket.socket(fileno=int(line)), lambda: _become(command), grace=float(grace))


def _become(command: tuple[str, ...]) -> NoReturn:
    try:
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)  # Python ignores them, and the program would inherit that
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        os.write(2, f"{command[0]}: cannot be run: {error.strerror}\n".encode())
    finally:
        os._exit(_CANNOT_RUN)


def _watch(worker: int, line: socket.socket, woken: socket.socket) -> int | None:
    while True:
        if line in select.select([line, woken], [], [])[0]:
            return None
        woken.recv(2**12)
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == worker:
                return os.waitstatus_to_exitcode(ended[1])


def _terminate(worker: int, grace: float) -> None:
    """Send SIGTERM to the worker's group, and wait until it and its descendants have ended or the grace is over."""
    deadline = time.monotonic() + grace
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(worker, signal.SIGTERM)
    while _are_left(worker) and time.monotonic() < deadline:
        time.sleep(_INTERVAL)


def _are_left(worker: int) -> bool:
    left = True
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        left = False
    if _LINUX:  # orphans become children of this process
        return left
    try:
        os.killpg(worker, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _end_descendants(worker: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(worker, signal.SIGKILL)
    with suppress(ChildProcessError):  # none is left
        while _LINUX:  # orphans become children of this process, one generation after another
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


if __name__ == "__main__":
    main(*sys.argv[1:])
