"""The fork server: imports a task once, and forks a worker whenever the run asks for one."""

from __future__ import annotations

import fcntl
import gc
import os
import pickle
import select
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import dill

from lightning_gft.guarded.guard import guard
from lightning_gft.rewards.failures import RewardError, describe
from lightning_gft.rewards.workers.messages import read
from lightning_gft.rewards.workers.worker import prepared, work

_LINUX = sys.platform == "linux"
_F_SETSIG = 10

Task = Callable[[Any], Any]


def serve(control_number: int, parent_pipe: int, kept: int | None = None) -> None:
    """Load a task and fork workers, until the parent ends.

    Args:
        control_number: Socket that receives the task, and then for each worker a byte with two sockets: its channel for
            items and results, and its line, which the parent closes to end it.
        parent_pipe: Pipe that closes when the parent ends. The kernel then ends this process, even during an import.
        kept: File with the task, if an earlier server could not fork.
    """
    _end_with_parent(parent_pipe)
    _close_on_exec(control_number, parent_pipe)
    control = socket.socket(fileno=control_number)
    message = read(control.makefile("rb", buffering=0)) if kept is None else Path(f"/dev/fd/{kept}").read_bytes()
    sent, memory_mb = pickle.loads(message)  # noqa: S301 (from our own process)
    load = _preload(sent) if kept is None and _LINUX else _loader(sent)  # macOS frameworks do not survive a fork
    if kept is None and not _may_fork():
        _start_over(message, control, parent_pipe)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that guards leave no zombies
    gc.collect()
    gc.freeze()  # so that forks share existing objects
    while True:
        asked, numbers, *_ = socket.recv_fds(control, 1, 2)
        if not asked:
            return
        _close_on_exec(*numbers)
        if os.fork() == 0:
            control.close()
            os.close(parent_pipe)
            _become_guard(numbers, lambda: prepared(load(), memory_mb))
        for number in numbers:
            os.close(number)


def _become_guard(numbers: list[int], start: Callable[[], Task]) -> NoReturn:
    os.setsid()
    channel, line = (socket.socket(fileno=number) for number in numbers)
    guard(line, lambda: work(channel, start), channel)


def _close_on_exec(*numbers: int) -> None:
    for number in numbers:
        os.set_inheritable(number, False)  # so that programs started by a task do not keep it open


def _end_with_parent(pipe: int) -> None:
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    if _LINUX:  # only here can the signal be one that no code can ignore
        fcntl.fcntl(pipe, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([pipe], [], [], 0)[0]:
        os._exit(0)


def _loader(sent: bytes) -> Callable[[], Task]:
    def load() -> Task:
        task: Task = dill.loads(sent)  # noqa: S301 (from our own process)
        if hasattr(task, "preload"):
            task.preload()
        return task

    return load


def _preload(sent: bytes) -> Callable[[], Task]:
    try:
        task = _loader(sent)()
    except BaseException as error:  # noqa: BLE001 -- each worker raises it
        text = describe(error)

        def fail() -> NoReturn:
            raise RewardError(text)

        return fail
    return lambda: task


def _may_fork() -> bool:
    """Return whether the import has started no thread, as a GPU would: a fork lacks such threads and hangs."""
    return not _LINUX or len(list(Path("/proc/self/task").iterdir())) == 1


def _start_over(message: bytes, control: socket.socket, parent_pipe: int) -> NoReturn:
    """Restart as a server that does not load the task, so that each worker loads its own."""
    with tempfile.TemporaryFile() as file:
        file.write(message)
        file.flush()
        for number in (control.fileno(), parent_pipe, file.fileno()):
            os.set_inheritable(number, True)
        os.execv(sys.executable, [*sys.orig_argv, str(file.fileno())])  # noqa: S606
