"""A guard reports how its worker ended, also when that raises."""

from __future__ import annotations

import signal
import subprocess
import sys

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


_SIGNALLED_FIRST = """
import os, signal
set_wakeup_fd = signal.set_wakeup_fd

def signalled(fd, **options):
    if fd == -1:  # what a worker does first
        os.kill(os.getpid(), signal.SIGTERM)
    return set_wakeup_fd(fd, **options)

signal.set_wakeup_fd = signalled
"""


def test_a_worker_that_is_signalled_before_it_has_begun_ends_by_that():
    run = [sys.executable, "-c", _SIGNALLED_FIRST + _RUN.format(work="lambda: None")]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == f"{-signal.SIGTERM}\n"
