"""The run's side of a guarded process: starting a program, and releasing the process that a guard watches."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO

from lightning_gft.guarded import guard

END_SECONDS = 10.0
"""Time limit for a guard to kill its processes; it takes milliseconds unless the machine is busy."""


class GuardedProgram:
    """A program in a session of its own, which ends together with its descendants when this object or process ends.

    Its processes receive SIGTERM first and SIGKILL after a grace, even if this process ends by SIGKILL. Forks of this
    process do not keep it alive. It needs Linux or macOS.

    Args:
        command: Program, by path or by a name on the environment's ``PATH``, and its arguments.
        environment: All environment variables of the program.
        output: File that receives the program's output.
        grace: Seconds from SIGTERM to SIGKILL.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryFile() as output:
        ...     program = GuardedProgram(["sleep", "600"], {}, output, grace=10)
        ...     program.is_there, program.end(), program.is_there
        (True, True, False)
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], output: IO[bytes], grace: float) -> None:
        self._line, line = socket.socketpair()
        _PROGRAMS.add(self)
        with line:
            process = subprocess.Popen(  # noqa: S603 (this interpreter)
                [sys.executable, "-I", "-S", guard.__file__, str(line.fileno()), str(grace), *command],
                pass_fds=[line.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(environment),
                start_new_session=True,  # Ctrl-C is for the run
            )
        self._end = weakref.finalize(self, _end, process, self._line, grace, os.getpid())

    @property
    def is_there(self) -> bool:
        """Whether the program itself still runs."""
        try:
            self._line.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def status(self) -> int | None:
        """Return the exit status of a program that ended by itself; ``None`` if its guard was killed."""
        with suppress(OSError, ValueError):
            return int(self._line.recv(2**6, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        return None

    def end(self) -> bool:
        """End the program and its descendants, and return whether all have ended; repeated calls are harmless."""
        return self._end() is not False

    def leave(self) -> None:
        """Close this process's end of the line, as required in a fork of the process that owns the program."""
        self._line.close()


def let_go(line: socket.socket, seconds: float) -> bool:
    """Close a line, wait up to ``seconds`` for its guard to end its processes, and return whether it has."""
    with line:
        try:
            line.settimeout(seconds)
            line.shutdown(socket.SHUT_WR)
            while line.recv(2**12):  # until the guard has ended too
                pass
        except TimeoutError:
            return False
        except OSError:  # the guard had ended before
            pass
    return True


def _end(process: subprocess.Popen[bytes], line: socket.socket, grace: float, owner: int) -> bool:
    if os.getpid() != owner:
        return True  # only a forked copy of the object has ended
    if not let_go(line, grace + END_SECONDS):
        return False
    process.wait()
    return True


_PROGRAMS: weakref.WeakSet[GuardedProgram] = weakref.WeakSet()


def _leave_all() -> None:
    for program in list(_PROGRAMS):
        program.leave()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all)
