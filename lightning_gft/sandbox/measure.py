"""Measures the sandbox on this machine by trying to break out of it."""

from __future__ import annotations

import functools
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from lightning_gft.sandbox.process import EndedError, Limits, OverTimeError, SandboxedProcess, SandboxError

Reach = Literal["network", "files", "processes"]
"""Targets out of a program's reach: sockets; files except Python's own and its folder's; new and other processes."""
_SECONDS = 60.0
_ATTEMPTS = """
import json, os, resource, socket

def succeeds(attempt):
    try:
        attempt()
    except (OSError, ValueError):
        return False
    return True

def execute():
    try:
        os.execv({nothing!r}, ["nothing"])
    except FileNotFoundError:
        pass

def fork():
    if os.fork() == 0:
        os._exit(0)

attempts = {{
    "network": [
        lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM),
        lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
        lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    ],
    "files": [
        lambda: open({file!r}).read(),
        lambda: open({file!r}, "a"),
        lambda: open({new!r}, "w"),
        lambda: os.truncate({file!r}, 0),
        lambda: os.remove({file!r}),
        lambda: os.chmod({file!r}, 0o777),
        lambda: os.listdir({folder!r}),
        lambda: open("/proc/{parent}/environ", "rb").read(),
        lambda: open("/proc/self/environ", "rb").read(),
    ],
    "processes": [
        fork,
        execute,
        lambda: os.kill({parent}, 0),
        lambda: resource.prlimit({parent}, resource.RLIMIT_NOFILE),
    ],
}}
print(json.dumps([reach for reach, tries in attempts.items() if any([succeeds(attempt) for attempt in tries])]))
"""


@dataclass(frozen=True)
class Measured:
    """The result of a measurement.

    Args:
        walls: Names of the active walls.
        open: Targets that programs can still reach.
    """

    walls: frozenset[str]
    open: frozenset[Reach]


@functools.cache
def measure() -> Measured:
    """Run a program that tries to reach every target, and return the result; measured once in a process.

    Raises:
        SandboxError: If this is not Linux, or the program does not finish.

    Example:
        >>> measure().open <= {"network", "files", "processes"}
        True
    """
    if sys.platform != "linux":
        raise SandboxError(f"expected Linux, got {sys.platform}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "file"
        file.write_text("secret")
        names = {"file": str(file), "new": str(file.with_name("new")), "nothing": str(file.with_name("nothing"))}
        code = _ATTEMPTS.format(**names, folder=folder, parent=os.getpid())
        with SandboxedProcess(Limits(), captures=True) as process:
            try:
                written, status = process.output(code, _SECONDS, 1 << 16)
            except (OverTimeError, EndedError):
                raise SandboxError(f"the program that measures it took longer than {_SECONDS:g} s") from None
    if status != 0:
        raise SandboxError(f"the program that measures it ended with exit status {status}")
    reached = json.loads(written)
    return Measured(frozenset(process.walls), frozenset(reach for reach in get_args(Reach) if reach in reached))
