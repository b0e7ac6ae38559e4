"""Items in worker processes: whatever one does costs it its result, and nothing else."""

import math
import os
import pickle
import re
import signal
import sys
import threading
import time

import pytest

from lightning_gft.rewards import Failed, RewardError
from lightning_gft.rewards.pool import WorkerPool
from lightning_gft.rewards.workers.round import Worker
from tests.rewards import attacks
from tests.rewards.attacks import attack
from tests.rewards.processes import alive, wait_until

ENOUGH = 120
"""Seconds that only a hang needs."""
SHORT = 0.5
"""Seconds for an item that hangs."""


@pytest.fixture(scope="module")
def pool():
    with WorkerPool(attack, seconds=ENOUGH, workers=2) as pool:
        yield pool


def workers_of(pool):
    return [worker for worker in pool._workers if worker.process.is_there]


def test_results_come_in_order_from_no_more_processes_than_items(pool):
    assert pool.map([]) == []
    assert not pool.is_running
    assert pool.map([("pid",)])[0] != os.getpid()
    assert len(workers_of(pool)) == 1
    items = list(range(5000))
    assert pool.map(items) == items
    assert len(workers_of(pool)) == 2


def test_workers_import_the_task_alone(pool):
    assert pool.map([("modules", "torch", "numpy", "lightning", "pytest")]) == [[]]


HANGS = ["hangs_in_c", "ignores_signals", "hangs_with_threads", "leaves_its_session"]
FAILURES = {
    "closes_descriptors": ("crash", "its process"),
    "kills_its_parent": ("crash", "its process"),
    "exits": ("crash", "ended its process, with exit status 3"),
    "segfaults": ("crash", f"ended its process, with exit status -{signal.SIGSEGV}"),
    "is_killed": ("memory", "had its process killed, as the kernel does where memory runs out"),
    "sys_exits": ("error", "raised SystemExit in sys_exits"),
    "raises": ("error", "raised KeyError in raises, .*attacks.py:.*boom"),
    "raises_unprintable": ("error", "raised UnprintableError in .*cannot be shown"),
    "returns_unpicklable": ("error", "pickle"),
    "returns_unreadable": ("error", "gave a result that cannot be read here"),
}


def test_each_misdeed_costs_its_item_alone(pool):
    items = [item for name in FAILURES for item in ((name,), name)]
    results = pool.map(items)
    assert results[1::2] == list(FAILURES)
    for result, (name, (kind, message)) in zip(results[::2], FAILURES.items(), strict=True):
        assert isinstance(result, Failed), name
        assert result.kind == kind, (name, result)
        assert re.search(message, result.message), (name, result)


def test_what_hangs_costs_its_item_alone(pool, monkeypatch):
    items = [item for name in HANGS for item in ((name,), name)]

    def with_a_short_limit_for_what_hangs(method):
        def call(worker, *args):
            result = method(worker, *args)
            if worker.sent and isinstance(items[worker.sent[0]], tuple):
                worker.deadline = worker.began + SHORT
            return result

        return call

    for method in (Worker.give, Worker.take):
        monkeypatch.setattr(Worker, method.__name__, with_a_short_limit_for_what_hangs(method))
    late = Failed("timeout", f"took longer than {ENOUGH} s, and its process was killed")
    assert pool.map(items) == [result for name in HANGS for result in (late, name)]


def test_what_closes_the_connection_and_hangs_costs_its_item_alone(pool, monkeypatch):
    monkeypatch.setattr("lightning_gft.rewards.workers.process._CLOSE_SECONDS", 0.2)  # it has no exit status
    assert pool.map([("hangs_without_descriptors",), 1]) == [Failed("crash", "closed the connection of its process"), 1]


def test_what_does_not_harm_the_process_has_its_result(pool):
    items = [("closes_streams",), ("forks_and_returns",), ("deletes_modules",), 1, 2, 3, 4]
    assert pool.map(items) == [1, "parent", 1, 1, 2, 3, 4]
    assert pool.map([("forks_and_returns",)] * 4) == ["parent"] * 4


def test_what_writes_to_the_connection_is_a_failure_of_its_own(pool):
    failed, one = pool.map([("writes_to_descriptors",), 1])
    assert isinstance(failed, Failed)
    assert one == 1
    assert pool.map([0, 1, ("answers_for_another",), 3, 4, 5])[3:] == [3, 4, 5]
    assert pool.map([1, 2]) == [1, 2]


def test_memory_is_limited_beyond_what_the_process_had(monkeypatch):
    with WorkerPool(attack, seconds=ENOUGH, memory_mb=256, workers=1) as pool:
        assert pool.map([("takes", 100), ("takes", 300), 3]) == [
            100 * 2**20,
            Failed("memory", "needed more than 256 MiB of memory"),
            3,
        ]
        # What an earlier item has left in the process is not the fault of the next one.
        assert pool.map([("keeps", 150), ("takes", 150)]) == [None, 150 * 2**20]


@pytest.mark.slow
def test_a_huge_result_is_an_error(pool):
    failed, one = pool.map([("returns_huge",), 1])
    assert (failed.kind, one) == ("error", 1)
    assert "gave a result of 3145728" in failed.message


def test_an_item_that_cannot_be_sent_is_an_error(pool):
    failed, one = pool.map([threading.Lock(), 1])
    assert (failed.kind, one) == ("error", 1)
    assert "cannot be sent (TypeError" in failed.message


@pytest.mark.parametrize("then", ["hangs_in_c", "exits", None])
def test_what_a_task_has_started_ends_with_its_worker(tmp_path, then):
    note = tmp_path / "pids"
    with WorkerPool(attack, seconds=ENOUGH, workers=1) as pool:
        assert pool.map([("spawns", str(note))]) == [note.read_text()]
        pids = [int(pid) for pid in note.read_text().split()]
        assert len(pids) == 2
        assert all(map(alive, pids))
        if then is not None:
            pool.seconds = SHORT if then == "hangs_in_c" else ENOUGH
            (result,) = pool.map([(then,)])
            assert result.kind == {"hangs_in_c": "timeout", "exits": "crash"}[then]
            assert not any(map(alive, pids))
    assert not any(map(alive, pids))


def test_a_worker_that_reads_nothing_is_killed(pool, monkeypatch):
    (pid,) = pool.map([("pid",)])
    for worker in pool._workers:
        worker.is_quick = True
    pids = set(pool.map([("pid",)] * 64))
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(pool, "seconds", SHORT)
    kinds = [getattr(result, "kind", result) for result in pool.map(["x" * 3_000_000] * 4)]
    assert kinds.count("timeout") == len(pids)
    assert not any(map(alive, pids))


def test_an_interrupt_ends_the_workers_and_the_pool_works_again(pool):
    def interrupt(number, frame):
        raise KeyboardInterrupt

    pids = pool.map([("pid",)])
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            pool.map([("hangs_in_c",)] * 2)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not pool.is_running
    assert not any(map(alive, pids))
    assert pool.map([1]) == [1]


def test_threads_share_the_workers(pool):
    results = {}

    def run(number):
        results[number] = pool.map([number] * 200), pool.map([("pid",)])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number: result[0] for number, result in results.items()} == {n: [n] * 200 for n in range(6)}
    assert len({pid for _, (pid,) in results.values()}) <= 2


def test_a_forked_process_has_workers_of_its_own(pool):
    while len(workers_of(pool)) < 2 or not all(worker.is_ready for worker in workers_of(pool)):
        pool.map([("pid",)] * 8)  # one worker may be done with all of them before the other has started
    pids = {worker.pid for worker in workers_of(pool)}
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            own = set(pool.map([("pid",)] * 8))
            pool.close()
            os.write(write, b"well" if own and not own & pids else b"ill")
        finally:
            os._exit(0)
    os.close(write)
    assert os.read(read, 10) == b"well"
    os.close(read)
    os.waitpid(child, 0)
    assert set(pool.map([("pid",)] * 8)) <= pids


def test_a_fork_keeps_no_worker_alive(tmp_path):
    pool = WorkerPool(attack, seconds=ENOUGH, workers=1)
    (pid,) = pool.map([("pid",)])
    child = os.fork()
    if child == 0:
        time.sleep(ENOUGH)
        os._exit(0)
    try:
        pool.close()
        assert not alive(pid)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_workers_end_with_the_pool():
    pool = WorkerPool(attack, seconds=ENOUGH, workers=2)
    pids = set(pool.map([("pid",)] * 4))
    server = pool._server.process.pid
    del pool
    wait_until(lambda: not any(map(alive, {*pids, server})), "workers outlived their pool")


def test_a_pool_pickles_without_its_workers(pool):
    copy = pickle.loads(pickle.dumps(pool))  # noqa: S301
    assert (copy.task, copy.seconds, copy.memory_mb, copy.workers) == (attack, ENOUGH, 1024, 2)
    assert not copy.is_running


def test_a_task_is_loaded_once_and_set_up_in_each_worker():
    with WorkerPool(attacks.WithSetup(), seconds=ENOUGH, workers=2) as pool:
        assert pool.map([0] * 8) == [(pool._server.process.pid, True)] * 8


def test_options_are_checked():
    with pytest.raises(ValueError, match="`seconds` of WorkerPool: expected a number above 0, got 0"):
        WorkerPool(math.sqrt, seconds=0)
    with pytest.raises(ValueError, match=r"`workers` of WorkerPool: expected a whole number of at least 1, .* got 0"):
        WorkerPool(math.sqrt, seconds=1, workers=0)


def test_workers_share_the_cores_with_the_ranks_of_the_machine(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setenv("WORLD_SIZE", "4")
    with WorkerPool(math.sqrt, seconds=ENOUGH) as pool:
        pool.map([4.0] * 9)
        assert len(pool._workers) == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    with WorkerPool(math.sqrt, seconds=ENOUGH) as pool:
        pool.map([4.0] * 9)
        assert len(pool._workers) == 1


def test_without_fcntl_a_pool_says_what_it_lacks(monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(RewardError, match="worker processes: expected Linux or macOS"):
        WorkerPool(math.sqrt, seconds=1).map([1])
