"""What a worker does: it runs a task on one item after another."""

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
    """Answer for a task until no more items can come, or memory has run out once.

    Args:
        channel: Brings items and takes results.
        start: Returns the task.
    """
    own, stream = os.getpid(), channel.makefile("rb")

    def leave() -> None:
        stream.close()
        channel.close()

    os.register_at_fork(after_in_child=leave)  # else the run would wait for what the task has forked
    with suppress(EOFError, OSError):
        try:
            task = start()
        except BaseException as error:  # noqa: BLE001 -- the process that asks raises it
            return send(channel, pickle.dumps(("failed", None, describe(error))))
        send(channel, pickle.dumps(("ready", None, own)))
        while True:
            reply = _reply(task, read(stream))
            if os.getpid() != own:
                return None  # the task has forked, and this is not the process that answers
            send(channel, reply)
            if reply == _OUT_OF_MEMORY:
                return None
    return None


def prepared(task: Callable[[Any], Any], memory_mb: int | None) -> Callable[[Any], Any]:
    """Set a task up in its worker, and limit from then on what the process takes."""
    with suppress(OSError):  # where the machine's memory runs out, a worker goes before the run
        Path("/proc/self/oom_score_adj").write_text("1000")
    if hasattr(task, "setup"):
        task.setup()
    if memory_mb is not None and _LINUX:
        _limit_memory(memory_mb * 2**20)
    return task


def _limit_memory(more: int) -> None:
    """Let the process take so many bytes beyond what it has.

    The limit is on data (``RLIMIT_DATA``), which is what a computation allocates. One on the address space
    (``RLIMIT_AS``) would also count what is only reserved: gigabytes, as soon as a library maps a GPU or starts
    threads.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    taken = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
    resource.setrlimit(resource.RLIMIT_DATA, (taken + more, taken + more))


def _reply(task: Callable[[Any], Any], message: bytes) -> bytes:
    """Return what becomes of an item, with its number, which goes before it."""
    (number,) = HEADER.unpack_from(message)
    try:
        reply = pickle.dumps(("result", number, task(pickle.loads(message[HEADER.size :]))))  # noqa: S301 (from our run)
    except MemoryError:
        return _OUT_OF_MEMORY
    except BaseException as error:  # noqa: BLE001 -- the process that asks counts or raises it
        return pickle.dumps(("error", number, describe(error)))
    if len(reply) > MOST_BYTES:
        return pickle.dumps(("error", number, f"gave a result of {len(reply)} bytes, more than {MOST_BYTES}"))
    return reply
