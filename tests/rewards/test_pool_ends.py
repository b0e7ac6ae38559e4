"""Whole runs with workers: however a run ends, they end too, with all that they have started."""

import signal
import sys
import textwrap
import time

import pytest

from tests.distributed.jobs import running, wait_for
from tests.rewards.processes import wait_until

BUSY = """
import sys, threading
from lightning_gft.rewards.pool import WorkerPool
from tests.rewards.attacks import attack

def tasks(item):  # of the main script, which has no guard and is not run again
    if not isinstance(item, tuple):
        return FACTOR * item
    return attack(item)

FACTOR = 2
pool = WorkerPool(tasks, seconds=600, workers=4)
assert pool.map([1, 2, 3, 4]) == [2, 4, 6, 8]
spawns = ("spawns", sys.argv[1], "ignores_signals")
busy = [spawns, ("ignores_signals",), ("leaves_its_session",), ("hangs_with_threads",)]
"""
ENDS = {
    "kill": (signal.SIGKILL, "pool.map(busy)"),
    "terminate": (signal.SIGTERM, "pool.map(busy)"),
    "ctrl-c": (signal.SIGINT, "pool.map(busy)"),
    "exit in a thread": (None, "threading.Thread(target=pool.map, args=(busy,), daemon=True).start()\nwait()"),
    "without close": (None, "print(pool.map([('spawns', sys.argv[1])]))"),
}
PROCESSES = {"kill": 1 + 1 + 4 + 4 + 2}
"""The run, its fork server, guards, workers, and what one of them has started."""
WAIT = """
import os, time

def wait():
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.05)
"""


@pytest.mark.parametrize("end", ENDS)
def test_no_process_is_left(tmp_path, end):
    script, note = tmp_path / "main.py", tmp_path / "pids"
    number, last = ENDS[end]
    script.write_text(textwrap.dedent(BUSY + WAIT) + last + "\n")
    with running([sys.executable, str(script), str(note)], tmp_path / "log") as job:
        wait_for(note, job)
        if number is not None:
            while len(job.pids()) < PROCESSES["kill"]:
                assert job.process.poll() is None, job.written()
                time.sleep(0.05)
            job.process.send_signal(number)
        status = job.wait()
        assert (status == 0) == (number is None), job.written()
        job.wait_until_gone()


FORKED = """
import os, sys, time
from lightning_gft.rewards.pool import WorkerPool
from tests.rewards.attacks import attack

pool = WorkerPool(attack, seconds=600, workers=1)
pool.map([1])
child = os.fork()
if child == 0:
    time.sleep(600)
with open(sys.argv[1], "w") as note:
    note.write(str(child))
pool.map([("hangs_in_c",)])
"""


def test_what_the_run_has_forked_keeps_no_worker(tmp_path):
    script, note = tmp_path / "main.py", tmp_path / "pid"
    script.write_text(FORKED)
    with running([sys.executable, str(script), str(note)], tmp_path / "log") as job:
        child = int(wait_for(note, job).read_text())
        job.process.send_signal(signal.SIGKILL)
        job.wait()
        wait_until(lambda: job.pids() == [child], "workers outlived their run")


SPAWNED = """
import multiprocessing
from lightning_gft.rewards.pool import WorkerPool

FACTOR = 3

def task(item):
    return FACTOR * item

def run(pool, results):
    with pool:
        results.put(pool.map([1, 2]))

if __name__ == "__main__":
    with WorkerPool(task, seconds=600, workers=1) as pool:
        assert pool.map([1]) == [3]
        for method in ("spawn", "fork", "forkserver"):
            context = multiprocessing.get_context(method)
            results = context.Queue()
            process = context.Process(target=run, args=(pool, results))
            process.start()
            assert results.get() == [3, 6], method
            process.join()
        assert pool.map([2]) == [6]
"""


def test_processes_that_are_spawned_or_forked_run_a_task_of_the_main_script(tmp_path):
    script = tmp_path / "main.py"
    script.write_text(SPAWNED)
    with running([sys.executable, str(script)], tmp_path / "log") as job:
        assert job.wait() == 0, job.written()
        job.wait_until_gone()
