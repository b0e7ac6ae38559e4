"""The run's side of its worker processes: starts them, and communicates with many from one thread."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import socket
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dill

from lightning_gft.guarded.program import END_SECONDS, let_go
from lightning_gft.rewards.failures import RewardError
from lightning_gft.rewards.workers.messages import HEADER, MOST_BYTES

_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from lightning_gft.rewards.workers.server import serve; serve(*map(int, sys.argv[2:]))"
)
_CLOSE_SECONDS = 2.0
"""Seconds between the end of a worker's channel and that of the worker, unless the task has closed the channel."""


def pack(task: Callable[[Any], Any], memory_mb: int | None) -> bytes:
    """Return a task in the form that is sent to a process: by value from the main script, otherwise by name."""
    if importlib.util.find_spec("fcntl") is None:
        raise RewardError(f"worker processes: expected Linux or macOS, got {sys.platform}; score without a limit")
    try:
        with _spawned_main_by_value():
            return pickle.dumps((dill.dumps(task, recurse=True), memory_mb))
    except Exception as error:
        raise RewardError(
            f"cannot be sent to another process ({type(error).__name__}: {error}); "
            "open files, connections and the like when it is first called"
        ) from error


@contextmanager
def _spawned_main_by_value() -> Iterator[None]:
    """Hide the main script's name in a spawned process, which no worker can import, so that dill sends values."""
    module = sys.modules.pop("__mp_main__", None)
    try:
        yield
    finally:
        if module is not None:
            sys.modules["__mp_main__"] = module


class ForkServer:
    """A fresh interpreter that holds a task and forks workers, without any thread, lock or CUDA context of the run.

    It does not run the main script again. It ends with this object, or with this process.

    Args:
        packed: The task, from :func:`pack`.
        environment: Environment variables that differ from those of this process.
        seconds: Time limit for the interpreter to begin to read.
    """

    def __init__(self, packed: bytes, environment: Mapping[str, str], seconds: float) -> None:
        self.control, theirs = socket.socketpair()
        self.control.settimeout(seconds)
        parent_pipe, our_end = os.pipe()
        search_path = json.dumps([str(entry) for entry in sys.path])
        numbers = theirs.fileno(), parent_pipe
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 (this interpreter)
                [sys.executable, "-P", "-c", _PROGRAM, search_path, *map(str, numbers)],
                pass_fds=numbers,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C goes to the run only, which ends its workers
                env={**os.environ, **environment},
            )
        os.close(parent_pipe)
        self._our_end = our_end
        self.kill = weakref.finalize(self, _end_server, self.process, self.control, our_end, os.getpid())
        self._say(lambda: self.control.sendall(HEADER.pack(len(packed)) + packed))

    @property
    def is_there(self) -> bool:
        """Whether the server can fork another worker."""
        return self.kill.alive and self.process.poll() is None

    def leave(self) -> None:
        """Close this process's ends, as required after a fork of the process that owns the server."""
        self.control.close()
        os.close(self._our_end)

    def fork(self, channel: socket.socket, line: socket.socket) -> None:
        """Ask the server to fork a worker with these ends."""
        self._say(lambda: socket.send_fds(self.control, [b"w"], [channel.fileno(), line.fileno()]))

    def _say(self, send: Callable[[], Any]) -> None:
        try:
            send()
        except OSError:  # the server has ended or does not read; its workers then fail to start
            self.kill()


class WorkerProcess:
    """A process that runs one task on item after item, until it is killed, or this object or this process ends.

    Only :meth:`kill` blocks, so that one thread may serve many processes.
    """

    def __init__(self, server: ForkServer) -> None:
        self.channel, channel = socket.socketpair()
        self.line, line = socket.socketpair()
        self.channel.setblocking(False)
        with channel, line:
            server.fork(channel, line)
        self._outgoing, self._incoming = bytearray(), bytearray()
        self._end = weakref.finalize(self, _end_worker, self.channel, self.line, os.getpid())

    def fileno(self) -> int:
        """Return the file descriptor to wait on for an answer, or for room to send."""
        return self.channel.fileno()

    @property
    def is_there(self) -> bool:
        """Whether the process can still answer."""
        try:
            return bool(self.channel.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return True
        except OSError:
            return False

    @property
    def is_sending(self) -> bool:
        """Whether data remains to be sent."""
        return bool(self._outgoing)

    def post(self, *messages: bytes) -> None:
        """Send as much of the messages as the process accepts now; :meth:`flush` sends the rest."""
        for message in messages:
            self._outgoing += HEADER.pack(len(message))
            self._outgoing += message
        self.flush()

    def flush(self) -> None:
        """Send as much as the process accepts now."""
        try:
            while self._outgoing:
                del self._outgoing[: self.channel.send(self._outgoing)]
        except BlockingIOError:
            pass
        except OSError:  # the process has ended, which reading reports
            self._outgoing.clear()

    def receive(self) -> list[bytes]:
        """Return the messages that have arrived.

        Raises:
            EOFError: If there is none and the process has ended.
            ConnectionError: If the data is no sequence of messages.
        """
        ended = self._read()
        messages = list(self._split())
        if ended and not messages:
            raise EOFError
        return messages

    def status(self) -> int | None:
        """Return the exit status of a process that ends by itself, or ``None`` if it does not or did not start."""
        try:
            self.line.settimeout(_CLOSE_SECONDS)
            return int(self.line.recv(2**12))
        except (OSError, ValueError):
            return None

    def kill(self) -> None:
        """Kill the process and all its descendants."""
        self._end()

    def leave(self) -> None:
        """Close this process's ends, as required after a fork of the process that owns the worker."""
        self.channel.close()
        self.line.close()

    def _read(self) -> bool:
        try:
            while data := self.channel.recv(2**20):
                self._incoming += data
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def _split(self) -> Iterator[bytes]:
        while len(self._incoming) >= HEADER.size:
            end = HEADER.size + HEADER.unpack_from(self._incoming)[0]
            if end > 2 * MOST_BYTES:
                raise ConnectionError  # the task has written to the channel
            if len(self._incoming) < end:
                return
            yield bytes(self._incoming[HEADER.size : end])
            del self._incoming[:end]


def _end_worker(channel: socket.socket, line: socket.socket, owner: int) -> None:
    if os.getpid() != owner:
        return  # a forked copy of the object was deleted
    with channel:
        let_go(line, END_SECONDS)


def _end_server(process: subprocess.Popen[bytes], control: socket.socket, pipe: int, owner: int) -> None:
    if os.getpid() != owner:
        return
    process.kill()
    process.wait()
    control.close()
    os.close(pipe)
