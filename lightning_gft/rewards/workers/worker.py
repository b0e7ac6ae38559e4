"""Runs a task on one item after another, in a worker process."""

from __future__ import annotations

import os
import pickle
import resource
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning_gft.rewards.failures import describe
from lightning_gft.rewards.workers.messages import HEADER, MOST_BYTES, read, send

_LINUX = sys.platform == "linux"
_OUT_OF_MEMORY = pickle.dumps(("memory", None, None))


def work(channel: socket.socket, start: Callable[[], Callable[[Any], Any]]) -> None:
    """Run a task on items until the channel ends, or memory has run out once.

    Args:
        channel: Socket that receives items and sends results.
        start: Returns the task.
    """
    own, stream = os.getpid(), channel.makefile("rb")

    def leave() -> None:
        stream.close()
        channel.close()

    os.register_at_fork(after_in_child=leave)  # otherwise the run would wait for processes that the task has forked
    with suppress(EOFError, OSError):
        try:
            task = start()
        except BaseException as error:  # noqa: BLE001 -- reported to the run, which raises it
            return send(channel, pickle.dumps(("failed", None, describe(error))))
        send(channel, pickle.dumps(("ready", None, own)))
        while True:
            reply = _reply(task, read(stream))
            if os.getpid() != own:
                return None  # the task has forked, and this is the forked process, which must not answer
            send(channel, reply)
            if reply == _OUT_OF_MEMORY:
                return None
    return None


def prepared(task: Callable[[Any], Any], memory_mb: int | None) -> Callable[[Any], Any]:
    """Set up a task in its worker, and then limit the memory of the process."""
    with suppress(OSError):  # if the machine runs out of memory, the kernel kills workers before the run
        Path("/proc/self/oom_score_adj").write_text("1000")
    if hasattr(task, "setup"):
        task.setup()
    if memory_mb is not None and _LINUX:
        _limit_memory(memory_mb * 2**20)
    return task


def _limit_memory(more: int) -> None:
    """Limit the process to ``more`` bytes beyond its current memory.

    The limit is on data (``RLIMIT_DATA``), which is what a computation allocates. A limit on the address space
    (``RLIMIT_AS``) would also count reserved memory: gigabytes, once a library maps a GPU or starts threads.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    taken = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
    resource.setrlimit(resource.RLIMIT_DATA, (taken + more, taken + more))


def _reply(task: Callable[[Any], Any], message: bytes) -> bytes:
    """Return the reply to an item; the item's number precedes it in the message."""
    (number,) = HEADER.unpack_from(message)
    try:
        reply = pickle.dumps(("result", number, task(pickle.loads(message[HEADER.size :]))))  # noqa: S301 (from our run)
    except MemoryError:
        return _OUT_OF_MEMORY
    except BaseException as error:  # noqa: BLE001 -- reported to the run, which counts or raises it
        return pickle.dumps(("error", number, describe(error)))
    if len(reply) > MOST_BYTES:
        return pickle.dumps(("error", number, f"gave a result of {len(reply)} bytes, more than {MOST_BYTES}"))
    return reply
