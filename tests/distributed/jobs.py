"""Commands that start several processes, of which none may be left in the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.cli.command import ROOT

_MARK = "LIGHTNING_GFT_TEST_JOB"


class Job:
    """A command and all processes that come of it, wherever they hang.

    Args:
        command: Its first word, a Python program, is looked for beside the interpreter.
        log: File for all that is written.
        env: Variables that are set besides those of the tests.
        cwd: Where it runs.
    """

    def __init__(
        self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None, cwd: Path = ROOT
    ) -> None:
        self.mark = uuid.uuid4().hex
        self.log = log
        bin_folder = str(Path(sys.executable).parent)
        self.env = {
            **os.environ,
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            **(env or {}),
            _MARK: self.mark,
        }
        with log.open("w") as file:
            self.process = subprocess.Popen(
                list(command), stdout=file, stderr=file, env=self.env, cwd=cwd, start_new_session=True
            )

    def pids(self) -> list[int]:
        """Return the processes of this job that are there; one that has ended and is not yet waited for is not."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if f"{_MARK}={self.mark}".encode() in path.read_bytes():
                    found.append(int(path.parent.name))
        return found

    def wait(self, limit: float) -> int:
        """Return the exit status of the command; what it wrote is the message if it takes longer than ``limit``."""
        try:
            return self.process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not done after {limit:.0f} s:\n{self.written()}") from None

    def written(self) -> str:
        return self.log.read_text()

    def is_gone(self, limit: float) -> bool:
        """Say whether no process is left, or will be in ``limit`` seconds."""
        deadline = time.monotonic() + limit
        while left := self.pids():
            if time.monotonic() > deadline:
                return not left
            time.sleep(0.2)
        return True

    def kill(self) -> None:
        while left := self.pids():
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        self.process.wait()


@contextmanager
def running(*args: object, **kwargs: object) -> Iterator[Job]:
    """Start a :class:`Job`, and leave nothing of it."""
    job = Job(*args, **kwargs)  # type: ignore[arg-type]
    try:
        yield job
    finally:
        job.kill()


def wait_for(path: Path, job: Job, limit: float = 120.0) -> Path:
    """Return the path of a file as soon as it holds something."""
    deadline = time.monotonic() + limit
    while not (path.exists() and path.stat().st_size):
        assert job.process.poll() is None, f"ended by itself:\n{job.written()}"
        assert time.monotonic() < deadline, job.written()
        time.sleep(0.01)
    return path
