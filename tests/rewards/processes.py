"""Which processes are there."""

import contextlib
import time
from pathlib import Path

import pytest


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def marked(mark):
    """Return the processes that have a text in their environment, with what they have started."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark.encode() in environ.read_bytes() and alive(environ.parent.name):
                found.append(int(environ.parent.name))
    return found


def wait_until(happens, what):
    for _ in range(3000):  # as only what never happens would need
        if happens():
            return
        time.sleep(0.02)
    pytest.fail(what)
