"""A process of its own for code that may never return: it can be killed, and ends with the one that started it."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Callable
from typing import Any

import dill

from lightning_gft.rewards.failures import RewardError

_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[3]); "
    "from lightning_gft.rewards.program import serve; serve(int(sys.argv[1]), int(sys.argv[2]))"
)


def pack(task: Callable[[Any], Any], memory_mb: int | None) -> bytes:
    """Return a task as it is sent to a process: by value where it belongs to the main script, else by its name."""
    if importlib.util.find_spec("fcntl") is None:
        raise RewardError(f"worker processes: expected Linux or macOS, got {sys.platform}; score without a limit")
    try:
        return pickle.dumps((dill.dumps(task, recurse=True), memory_mb))
    except Exception as error:
        raise RewardError(
            f"cannot be sent to a process of its own ({type(error).__name__}: {error}); "
            "open files, connections and the like when it is first called"
        ) from error


class Worker:
    """A process that runs one task on item after item, until it is killed, or this object or this process is gone.

    It is a fresh interpreter: no thread, lock or CUDA context comes along, and no main script is run again. No call
    here waits for it, so that one thread may attend to many.
    """

    def __init__(self, packed: bytes) -> None:
        self.channel, theirs = socket.socketpair()
        self.channel.setblocking(False)
        parent_pipe, our_end = os.pipe()
        search_path = json.dumps([str(entry) for entry in sys.path])
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 (this interpreter)
                [sys.executable, "-c", _PROGRAM, str(theirs.fileno()), str(parent_pipe), search_path],
                pass_fds=(theirs.fileno(), parent_pipe),
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONHASHSEED": "0"},  # a set of texts has the same order in every worker
                start_new_session=True,  # Ctrl-C is for the run, which ends its workers
            )
        os.close(parent_pipe)
        self.owner = os.getpid()
        self._outgoing, self._incoming = bytearray(), bytearray()
        self._end = weakref.finalize(self, _end, self.process, self.channel, our_end, self.owner)
        self.post(packed)

    def fileno(self) -> int:
        """Return what to wait on for an answer, or for room to send."""
        return self.channel.fileno()

    @property
    def is_sending(self) -> bool:
        """Whether something is left to send."""
        return bool(self._outgoing)

    def post(self, *messages: bytes) -> None:
        """Send messages, as far as the process takes them now; :meth:`flush` sends the rest."""
        from lightning_gft.rewards.program import HEADER

        for message in messages:
            self._outgoing += HEADER.pack(len(message))
            self._outgoing += message
        self.flush()

    def flush(self) -> None:
        """Send what the process takes now."""
        try:
            while self._outgoing:
                del self._outgoing[: self.channel.send(self._outgoing)]
        except BlockingIOError:
            pass
        except OSError:  # it has ended, as reading will tell
            self._outgoing.clear()

    def receive(self) -> list[bytes]:
        """Return the messages that have come.

        Raises:
            EOFError: If none is left and the process has ended.
        """
        ended = self._read()
        messages = list(self._split())
        if ended and not messages:
            raise EOFError
        return messages

    def kill(self) -> int:
        """End the process and those of its group at once, whatever they do, and return its exit status."""
        self._end()
        return int(self.process.returncode)

    def _read(self) -> bool:
        try:
            while data := self.channel.recv(2**20):
                self._incoming += data
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def _split(self) -> Any:
        from lightning_gft.rewards.program import HEADER, MOST_BYTES

        while len(self._incoming) >= HEADER.size:
            end = HEADER.size + HEADER.unpack_from(self._incoming)[0]
            if end > 2 * MOST_BYTES:
                raise EOFError  # something else has written to the channel
            if len(self._incoming) < end:
                return
            yield bytes(self._incoming[HEADER.size : end])
            del self._incoming[:end]


def _end(process: subprocess.Popen[bytes], channel: socket.socket, pipe: int, owner: int) -> None:
    if os.getpid() != owner:
        return  # a forked copy of the object has gone
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()
    process.wait()
    channel.close()
    os.close(pipe)
