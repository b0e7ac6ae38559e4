"""What a worker process runs: a task, on one item after another. It imports no more than the task needs."""

from __future__ import annotations

import fcntl  # absent on Windows, where nothing imports this
import os
import pickle
import resource
import select
import signal
import socket
import struct
from collections.abc import Callable
from typing import Any

import dill

from lightning_gft.rewards.failures import describe

HEADER = struct.Struct("!Q")
"""Goes before each message and tells its bytes."""
MOST_BYTES = 256 * 2**20
"""Largest result; one that is larger is an error of its item."""
_F_SETSIG = 10


def serve(channel_number: int, parent_pipe: int) -> None:
    """Run a task, until the process that asks is gone.

    Args:
        channel_number: A socket, on which first the task and its limit of memory come, and then items.
        parent_pipe: Closes when that process ends. The kernel then ends this one and its group, even within code that
            never comes back to the interpreter.
    """
    _end_with_parent(parent_pipe)
    channel = socket.socket(fileno=channel_number)
    channel.set_inheritable(False)
    stream = channel.makefile("rb")
    os.register_at_fork(after_in_child=channel.close)  # else the parent would wait for what the task has forked
    try:
        task = _load(_read(stream))
    except EOFError:
        return
    except BaseException as error:  # noqa: BLE001 -- the process that asks raises it
        _send(channel, pickle.dumps(("failed", describe(error))))
        return
    own = os.getpid()
    _send(channel, pickle.dumps(("ready", own)))
    while True:
        try:
            item = _read(stream)
        except EOFError:
            return
        reply = _reply(task, item)
        if os.getpid() != own:
            os._exit(1)  # the task has forked, and this is not the process that answers
        _send(channel, reply)
        if reply == _OUT_OF_MEMORY:
            os._exit(0)


def _end_with_parent(pipe: int) -> None:
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(pipe, fcntl.F_SETOWN, -os.getpgrp())
    if hasattr(signal, "SIGRTMIN"):  # Linux, where the signal may be one that a task cannot ignore
        fcntl.fcntl(pipe, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([pipe], [], [], 0)[0]:
        os._exit(0)


def _load(packed: bytes) -> Callable[[Any], Any]:
    sent, memory_mb = pickle.loads(packed)  # noqa: S301 (from our own process)
    task = dill.loads(sent)  # noqa: S301
    if hasattr(task, "setup"):
        task.setup()
    if memory_mb is not None:
        _limit_memory(memory_mb * 2**20)
    return task  # type: ignore[no-any-return]


def _limit_memory(more: int) -> None:
    """Let the process take so many bytes beyond what it has.

    The limit is on data (RLIMIT_DATA), which is what a computation allocates. One on the address space (RLIMIT_AS)
    would also count what is only reserved, gigabytes as soon as a library maps a GPU or starts threads.
    """
    status = "/proc/self/status"
    if not os.path.exists(status):  # noqa: PTH110 -- macOS, which keeps neither limit
        return
    with open(status) as lines:  # noqa: PTH123
        taken = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
    resource.setrlimit(resource.RLIMIT_DATA, (taken + more, taken + more))


_OUT_OF_MEMORY = pickle.dumps(("memory", None))


def _reply(task: Callable[[Any], Any], item: bytes) -> bytes:
    try:
        reply = pickle.dumps(("result", task(pickle.loads(item))))  # noqa: S301 (from our own process)
    except MemoryError:
        return _OUT_OF_MEMORY
    except BaseException as error:  # noqa: BLE001 -- the process that asks counts or raises it
        return pickle.dumps(("error", describe(error)))
    if len(reply) > MOST_BYTES:
        return pickle.dumps(("error", f"gave a result of {len(reply)} bytes, more than {MOST_BYTES}"))
    return reply


def _read(stream: Any) -> bytes:
    (length,) = HEADER.unpack(_exactly(stream, HEADER.size))
    return _exactly(stream, length)


def _exactly(stream: Any, length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data  # type: ignore[no-any-return]


def _send(channel: socket.socket, message: bytes) -> None:
    channel.sendall(HEADER.pack(len(message)) + message)
