"""A server process of a run, which starts, watches, restarts and ends it."""

from __future__ import annotations

import http.client
import importlib.util
import shutil
import socket
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from lightning_gft.checks import check_number, cut, shorten
from lightning_gft.errors import GFTRuntimeError, GFTTypeError, GFTValueError
from lightning_gft.guarded.program import GuardedProgram
from lightning_gft.rollout.vllm.environment import server_environment
from lightning_gft.waiting import check_wait

_HOST = "127.0.0.1"
_PORT = "{port}"
_READY_PATH, _READY = "/health", 200
_INTERVAL = 0.5
_STOP_SECONDS = 30.0
"""Seconds from SIGTERM to SIGKILL."""
_ANSWER_SECONDS = 2.0
"""Time limit of one request whether the server is ready; further ones follow."""
_TAIL_BYTES, _TAIL_LINES, _LINE_LENGTH = 2**14, 20, 500


class ManagedServer:
    """A server process of this run, on a free port of this machine.

    It runs in a session of its own, so that Ctrl-C in a terminal reaches the run and not the server. It ends with
    :meth:`stop`, with this object or with this process, however that ends, and its descendants end with it: first by
    SIGTERM, then by SIGKILL. Its environment is that of
    :func:`~lightning_gft.rollout.vllm.environment.server_environment`. In a copy, a pickled object or a forked process
    the server is not started. Only one thread at a time may start and stop it. It needs Linux or macOS.

    Args:
        command: Program, by path or by a name on ``PATH``, and its arguments. ``{port}`` in an argument stands for the
            port; without it, ``--port`` and the port are appended.
        env: Environment variables of the server, which are added to this process's or replace them.
        log: File to which the server's output is appended, over all of its starts.
        start_timeout: Time limit in seconds until the server is ready, which is when ``/health`` returns status 200.

    Raises:
        ValueError: If an option is out of range.
        TypeError: If an option is of another type.

    Example:
        >>> import sys, tempfile
        >>> from urllib.request import urlopen
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     (Path(folder) / "health").touch()  # so that it is served
        ...     command = [sys.executable, "-m", "http.server", "--directory", folder, "--bind", "127.0.0.1", "{port}"]
        ...     server = ManagedServer(command, log=Path(folder) / "server.log")
        ...     server.start()
        ...     server.alive(), server.url.startswith("http://127.0.0.1:")
        ...     server.stop()
        ...     server.alive()
        (True, True)
        False
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        log: Path,
        start_timeout: float = 600,
    ) -> None:
        self.command = _checked_command(command)
        self.env = _checked_env(env or {})
        self.log = Path(log)
        self.start_timeout = check_number("start_timeout", start_timeout, above=0)
        self._log_start = 0
        self._program: GuardedProgram | None = None
        self._port: int | None = None

    @property
    def url(self) -> str:
        """Address of the server without a path; the port changes with each start.

        Raises:
            RuntimeError: If the server is not started, or was stopped.
        """
        if self._port is None:
            raise GFTRuntimeError("`url`: expected a started server, got one that is not started; call start")
        return f"http://{_HOST}:{self._port}"

    def start(self) -> None:
        """Start the server and wait until it is ready; a running server stays as it is.

        Raises:
            RuntimeError: If the program cannot be run, ends or is not ready in time. No process is left behind.
        """
        if self.alive():
            return
        self.stop()
        environment = server_environment(self.env)
        check_program(self.command[0], environment)
        port = _free_port()
        try:
            with self._open_log(port) as output:
                command = _with_port(self.command, port)
                self._program = GuardedProgram(command, environment, output, _STOP_SECONDS)
            self._wait_until_ready(self._program, port)
        except BaseException:
            self.stop()
            raise
        self._port = port

    def alive(self) -> bool:
        """Return whether the server's process runs, even if it does not reply."""
        return self._program is not None and self._program.is_there

    def restart(self) -> None:
        """Stop the server, whatever its state, and start it on another port.

        Raises:
            RuntimeError: As in :meth:`start`.
        """
        self.stop()
        self.start()

    def stop(self) -> None:
        """End the server and its descendants, by SIGTERM and then by SIGKILL."""
        program, self._program, self._port = self._program, None, None
        if program is not None and not program.end():
            message = f"`command`: {self.command[0]} has not ended, even after SIGKILL; it may still occupy memory"
            warnings.warn(message, stacklevel=2)

    def tail(self) -> str:
        """Return the last lines of the server's output since its last start, for an error message.

        Lines about the requests of :meth:`start` whether it is ready are left out.
        """
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(min(size, max(self._log_start, size - _TAIL_BYTES)))
            lines = file.read().decode(errors="replace").splitlines()
        telling = [line.rstrip() for line in lines if line.strip() and f"GET {_READY_PATH} " not in line]
        return "\n".join(cut(line, _LINE_LENGTH) for line in telling[-_TAIL_LINES:])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_program": None, "_port": None}

    def _open_log(self, port: int) -> IO[bytes]:
        """Open the log and mark this start by a line, without the arguments, because one of them may be a key."""
        file = open_log(self.log)
        file.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {self.command[0]} on port {port}\n".encode())
        self._log_start = file.tell()
        return file

    def _wait_until_ready(self, program: GuardedProgram, port: int) -> None:
        deadline = time.monotonic() + self.start_timeout
        while True:
            answer = _ask(port, _READY_PATH)
            if not program.is_there:  # even if another program on the port has replied
                raise self._failure("command", f"one that ended with exit status {program.status()}", "correct it")
            if answer == _READY:
                return
            if time.monotonic() > deadline:
                got = f"{answer} after {self.start_timeout:g} s"
                raise self._failure("start_timeout", got, "raise it, or correct the command")
            check_wait()
            time.sleep(_INTERVAL)

    def _failure(self, field: str, got: str, remedy: str) -> GFTRuntimeError:
        written = self.tail()
        end = f"which ends with:\n{written}" if written else "which is empty"
        return GFTRuntimeError(
            f"`{field}`: expected a server that answers {_READY} at {_READY_PATH}, got {got}; {remedy}; its log is "
            f"{self.log}, {end}"
        )


def _checked_command(command: Sequence[str]) -> list[str]:
    if isinstance(command, str) or not all(isinstance(word, str) for word in command):
        raise GFTTypeError(
            f"`command`: expected a list of texts, got {shorten(command)}; write one item for the program and one "
            "for each argument"
        )
    if not command or not command[0]:
        raise GFTValueError(f"`command`: expected a program and its arguments, got {shorten(command)}; name a program")
    return list(command)


def _checked_env(env: Mapping[str, str]) -> dict[str, str]:
    for name, value in env.items():
        if not isinstance(value, str):
            raise GFTTypeError(f"`env`: expected texts, got {shorten(value)} for {name}; write it in quotes")
    return dict(env)


def check_program(program: str, environment: Mapping[str, str]) -> None:
    """Check that a server's program is installed, on a platform where it ends with the run.

    Raises:
        RuntimeError: If it is not.
    """
    if importlib.util.find_spec("fcntl") is None:
        raise GFTRuntimeError(
            f"`command`: expected Linux or macOS, got {sys.platform}; start the server yourself and give its address"
        )
    if shutil.which(program, path=environment.get("PATH")) is None:
        raise GFTRuntimeError(
            f"`command`: expected an installed program that may be run, got {program!r}; install it, or give its path"
        )


def open_log(log: Path) -> IO[bytes]:
    """Open a log to append to it, in a folder that is created if it does not exist.

    Raises:
        RuntimeError: If it cannot be written.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return log.open("ab", buffering=0)
    except OSError as error:
        raise GFTRuntimeError(
            f"`log`: expected a file that can be written, got {log} ({error.strerror}); choose another place"
        ) from None


def _with_port(command: Sequence[str], port: int) -> list[str]:
    if any(_PORT in word for word in command):
        return [word.replace(_PORT, str(port)) for word in command]
    return [*command, "--port", str(port)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))  # free at every address of the machine, whichever the server listens at
        return int(probe.getsockname()[1])


def _ask(port: int, path: str) -> int | str:
    """Return the status of a server's reply, or what happened instead; proxies are not used."""
    connection = http.client.HTTPConnection(_HOST, port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except TimeoutError:
        return "no answer"
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
