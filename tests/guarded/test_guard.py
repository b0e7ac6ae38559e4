"""A guard reports how its worker ended, also when that raises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lightning_gft.guarded.program import GuardedProgram

_RUN = """
import os, socket
from lightning_gft.guarded.guard import guard
own, line = socket.socketpair()
if os.fork() == 0:
    own.close()
    guard(line, {work})
line.close()
print(own.recv(64).decode())
"""


def test_a_worker_that_raises_has_failed_and_says_why():
    ends = {
        work: subprocess.run([sys.executable, "-c", _RUN.format(work=work)], capture_output=True, text=True, check=True)
        for work in ("lambda: None", "lambda: 1 / 0")
    }
    assert [done.stdout for done in ends.values()] == ["0\n", "1\n"]
    assert ends["lambda: None"].stderr == ""
    assert "ZeroDivisionError" in ends["lambda: 1 / 0"].stderr


def test_a_program_that_is_ended_at_once_ends_by_the_first_signal(tmp_path: Path):
    with (tmp_path / "output").open("wb") as output:
        programs = [GuardedProgram(["sleep", "3600"], {}, output, grace=1800) for _ in range(8)]
        assert all(program.end() for program in programs)  # even those that had not become `sleep` yet
