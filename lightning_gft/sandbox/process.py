"""Starts a program in its sandbox from outside, sends it requests, and kills it when its time is over."""

from __future__ import annotations

import json
import os
import select
import signal
import site
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lightning_gft.errors import GFTRuntimeError

_PROGRAM = (  # skips the package's own import, so that a process starts quickly
    "import sys; sys.modules['lightning_gft'] = type(sys)('lightning_gft'); "
    "sys.modules['lightning_gft'].__path__ = [sys.argv[2]]; from lightning_gft.sandbox.inside import main; "
    "main(sys.argv[1])"
)
_PACKAGE = Path(__file__).parents[1]
_START_SECONDS = 120.0
"""Seconds for an interpreter to start, even on a busy machine."""
_MOST_ANSWERED = 1 << 20
"""Characters of the longest answer."""
_LIBRARIES = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/localtime"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf"),
)
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
"""All variables of a program. Without them each thread reserves 64 MiB of the limited address space."""


class SandboxError(GFTRuntimeError):
    """The sandbox itself failed, independently of the program."""


class OverTimeError(Exception):
    """The program has exceeded its time limit."""


class EndedError(Exception):
    """The program has ended before it answered, or has exceeded its output limit."""


@dataclass(frozen=True)
class Limits:
    """Resource limits of a program.

    Args:
        memory_mb: Address space, in MiB.
        cpu_seconds: Processor time of all threads, in seconds.
        file_mb: Largest file that the program may write, in MiB.
    """

    memory_mb: int = 1024
    cpu_seconds: int = 60
    file_mb: int = 16


class SandboxedProcess:
    """A process behind the walls that waits for a program, and ends with the ``with`` block.

    Args:
        limits: Resource limits of the program.
        stdin: Standard input of the program.
        captures: Whether to keep the standard output, for :meth:`output`.

    Attributes:
        walls: Names of the active walls.

    Raises:
        SandboxError: If the process does not start.
    """

    def __init__(self, limits: Limits, stdin: str = "", captures: bool = False) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="gft-program-", ignore_cleanup_errors=True)
        self._unread = b""
        theirs_in, self._requests = os.pipe()
        self._answers, theirs_out = os.pipe()
        os.set_blocking(self._requests, False)
        try:
            with tempfile.TemporaryFile() as file:
                file.write(stdin.encode("utf-8", "surrogatepass"))
                file.seek(0)
                settings = json.dumps(_settings(self._folder.name, limits, theirs_in, theirs_out))
                self.process = subprocess.Popen(  # noqa: S603 (this interpreter)
                    [sys.executable, "-I", "-S", "-X", "utf8", "-c", _PROGRAM, settings, str(_PACKAGE)],
                    pass_fds=(theirs_in, theirs_out),
                    stdin=file,
                    stdout=subprocess.PIPE if captures else subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=_ENVIRONMENT,
                    start_new_session=True,
                )
        except BaseException:
            self._close_pipes()
            raise
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        try:
            self.walls = self._await_walls()
        except BaseException:
            self.close()
            raise

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send a request, and return its answer.

        Raises:
            OverTimeError: If the answer takes longer than ``seconds``.
            EndedError: If the process ends without an answer.
        """
        deadline = time.monotonic() + seconds
        self._send(request, deadline)
        return self._receive(deadline)

    def _send(self, request: dict[str, Any], deadline: float) -> None:
        data = (json.dumps(request) + "\n").encode()
        try:
            while data:
                _await(self._requests, select.POLLOUT, deadline)
                data = data[os.write(self._requests, data) :]
        except BrokenPipeError:
            pass  # `_receive` notices that no answer comes

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._unread:
            part = _read(self._answers, deadline)
            self._unread += part
            if not part or len(self._unread) > _MOST_ANSWERED:
                raise EndedError
        line, self._unread = self._unread.split(b"\n", 1)
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            raise EndedError from None
        return answer if isinstance(answer, dict) else {}

    def ran_out_of_memory(self) -> bool:
        """Return whether a whole program has ended because it ran out of memory."""
        try:
            return self._receive(time.monotonic()).get("kind") == "memory"
        except (OverTimeError, EndedError):
            return False

    def output(self, code: str, seconds: float, most: int) -> tuple[bytes, int]:
        """Run a whole program, and return its output and its exit status.

        Args:
            code: Source of the program.
            seconds: Time limit.
            most: Bytes that it may write.

        Raises:
            OverTimeError: If it exceeds the time limit.
            EndedError: If it writes more.
        """
        deadline, written = time.monotonic() + seconds, bytearray()
        self._send({"kind": "program", "code": code}, deadline)
        stdout = self.process.stdout
        while stdout is not None and (part := _read(stdout.fileno(), deadline)):
            written += part
            if len(written) > most:
                raise EndedError
        try:
            return bytes(written), self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise OverTimeError from None

    def has_ended(self) -> bool:
        """Return whether the process has ended."""
        return self.process.poll() is not None

    def close(self) -> None:
        """Kill the process, and remove the files that it has written."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._close_pipes()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _close_pipes(self) -> None:
        os.close(self._requests)
        os.close(self._answers)
        self._folder.cleanup()

    def _await_walls(self) -> list[str]:
        try:
            answer = self._receive(time.monotonic() + _START_SECONDS)
        except OverTimeError:
            raise SandboxError(f"its process took longer than {_START_SECONDS:g} s to start") from None
        except EndedError:
            self.process.wait()
            raise SandboxError(f"its process ended at its start, with exit status {self.process.returncode}") from None
        if "walls" not in answer:
            raise SandboxError(f"its walls could not be put up: {answer.get('failed')}")
        return [str(wall) for wall in answer["walls"]]


def _settings(folder: str, limits: Limits, requests: int, answers: int) -> dict[str, Any]:
    packages = site.getsitepackages()
    standard = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
    return {
        "folder": folder,
        "packages": packages,
        "readable": [sys.prefix, sys.base_prefix, sys.base_exec_prefix, *standard, *packages, *_LIBRARIES],
        "memory_bytes": limits.memory_mb << 20,
        "cpu_seconds": limits.cpu_seconds,
        "file_bytes": limits.file_mb << 20,
        "parent": os.getpid(),
        "requests": requests,
        "answers": answers,
    }


def _read(number: int, deadline: float) -> bytes:
    """Return the available bytes, or none at the end."""
    _await(number, select.POLLIN, deadline)
    return os.read(number, 1 << 16)


def _await(number: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(number, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise OverTimeError
