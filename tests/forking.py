"""Processes that are forked from one that has imported the libraries, since importing them takes seconds."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path

from lightning_gft.cli import main

PRELOADED = ["lightning_gft.cli.command", "tests.module.runs", "benchmarks.study.worker"]
HANG = 900.0
"""Seconds that only a hang takes, however busy the machine is."""


def forking() -> ForkServerContext:
    """Return a context whose processes come from a fresh interpreter without threads, not from this one."""
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


class Command:
    """The command line in a process of its own, with the environment variables that are set now.

    Args:
        args: Those after the program's name.
        stdout: File for what it writes to standard output, or a terminal.
        stderr: The same for standard error.
    """

    def __init__(self, *args: str, stdout: Path | None = None, stderr: Path | None = None) -> None:
        outputs = {1: stdout, 2: stderr}
        self.process = forking().Process(target=run_command, args=(args, dict(os.environ), outputs))
        self.process.start()

    def poll(self) -> int | None:
        """Return the exit status; ``None`` while it runs."""
        return self.process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def wait(self) -> int:
        """Return the exit status as soon as it has ended."""
        self.process.join(HANG)
        status = self.process.exitcode
        self.process.kill()
        assert status is not None, "hangs"
        return status


def run_command(args: tuple[str, ...], environment: Mapping[str, str], outputs: Mapping[int, Path | None]) -> None:
    """Be a process of the command line."""
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv = ["lightning-gft", *args]
    for number, path in outputs.items():
        if path is not None:
            with path.open("w") as file:
                os.dup2(file.fileno(), number)
    main()
