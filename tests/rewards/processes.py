"""Which processes are there."""

import time
from pathlib import Path

import pytest


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(happens, what):
    for _ in range(3000):  # as only what never happens would need
        if happens():
            return
        time.sleep(0.02)
    pytest.fail(what)
