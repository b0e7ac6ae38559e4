"""Runs tasks in worker processes that can be killed, each item within limits of time and memory."""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lightning_gft.checks import check_count, check_number
from lightning_gft.rewards.workers.process import ForkServer, WorkerProcess, pack
from lightning_gft.rewards.workers.round import START_SECONDS, Round, Worker

_ALWAYS = {
    "OPENBLAS_NUM_THREADS": "1",  # numpy would start threads on import, and a process with threads cannot be forked
    "PYTHONHASHSEED": "0",  # so that a set has the same order in every worker
    "PYTHONUNBUFFERED": "1",  # so that a killed worker loses none of the output that its task has printed
}
_BESIDE_OTHERS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class WorkerPool:
    """Worker processes that run one task on many items. A failure of an item's process costs only that item.

    A process that takes too long is killed from outside together with all its descendants, and replaced within
    milliseconds. Processes start with the first items, at most as many as there are items. They end with :meth:`close`,
    with this object, or with this process, however it ends. Any thread may call the pool. A forked process gets workers
    of its own. The pool requires Linux or macOS.

    The task is sent once: by name if it belongs to a module, by value if it belongs to the main script. On Linux, a
    fresh process imports its module once, and the workers are forked from that process. If the import starts threads or
    a GPU, each worker imports the module itself. So import at the top of the module what the task needs, and torch only
    if the task uses it. A task that is an object may have a method ``preload``, called in the same place, for optional
    libraries and anything else that workers can share, and a method ``setup``, which each worker calls before its first
    item. The limits do not count the time of these. A task runs in the main thread, so it may use ``SIGALRM``.

    Args:
        task: Function of one item. Items and results are pickled.
        seconds: Longest time of an item.
        memory_mb: Most memory, in MiB, that a worker may allocate in addition to that after its start, on Linux;
            ``None`` for no limit.
        workers: Number of processes; by default the number of cores that this process may use, divided among the ranks
            of the machine. With several workers, each runs one thread.
        of: The part whose options these are, for errors.

    Raises:
        ValueError: If a number is out of range.
        TypeError: If a value that must be a number is none.

    Example:
        >>> import math
        >>> with WorkerPool(math.sqrt, seconds=10, workers=1) as pool:
        ...     pool.map([4.0, -1.0])
        [2.0, Failed(kind='error', message='raised ValueError...: math domain error')]
    """

    def __init__(
        self,
        task: Callable[[Any], Any],
        *,
        seconds: float,
        memory_mb: int | None = 1024,
        workers: int | None = None,
        of: str = "WorkerPool",
    ) -> None:
        self.task = task
        self.of = of
        self.seconds = check_number("seconds", seconds, above=0, of=of)
        self.memory_mb = (
            None if memory_mb is None else check_count("memory_mb", memory_mb, otherwise="null for no limit", of=of)
        )
        self.workers = (
            None if workers is None else check_count("workers", workers, otherwise="null for one a core", of=of)
        )
        self._lock = threading.RLock()
        self._server: ForkServer | None = None
        self._workers: list[Worker] = []
        _POOLS.add(self)

    @property
    def is_running(self) -> bool:
        """Whether any worker exists; true from the first items on, unless the last worker was killed."""
        return any(worker.process.is_there for worker in self._workers)

    def map(self, items: Sequence[Any]) -> list[Any]:
        """Return the task's results in the order of the items, with a :class:`Failed` for each item without a result.

        Raises:
            RewardError: If the task cannot be sent, or a process does not start.
        """
        with self._attending():
            self._forget_ended()
            return Round(items, self._workers, self).run()

    def start(self, count: int) -> None:
        """Start workers for ``count`` items, as far as their number allows, without waiting for them."""
        with self._lock:
            most = self.workers or usable_cores()
            missing = min(count, most) - len(self._workers)
            if missing <= 0:
                return
            if self._server is None or not self._server.is_there:
                environment = {**_ALWAYS, **(_BESIDE_OTHERS if most > 1 else {})}
                self._server = ForkServer(pack(self.task, self.memory_mb), environment, START_SECONDS)
            late = time.monotonic() + START_SECONDS
            self._workers += [Worker(WorkerProcess(self._server), late) for _ in range(missing)]

    def wait(self) -> None:
        """Wait until all started workers are ready for items.

        Raises:
            RewardError: If a worker does not start.
        """
        with self._attending():
            Round([], self._workers, self).settle()

    def close(self) -> None:
        """End the workers; a later :meth:`map` starts new ones."""
        with self._lock:
            if self._server is not None:
                self._server.kill()
            while self._workers:
                self._workers.pop().process.kill()
            self._server = None

    @contextmanager
    def _attending(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except BaseException:
                self.close()  # workers may still process items whose results no one reads
                raise

    def _forget_ended(self) -> None:
        self._workers[:] = [worker for worker in self._workers if worker.process.is_there]

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("task", "seconds", "memory_mb", "workers", "of")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _leave(self) -> None:
        """Drop the workers of the parent process after a fork, and close the inherited sockets."""
        for worker in self._workers:
            worker.process.leave()
        if self._server is not None:
            self._server.leave()
        self._lock, self._server, self._workers = threading.RLock(), None, []


_POOLS: weakref.WeakSet[WorkerPool] = weakref.WeakSet()


def _leave_all() -> None:
    for pool in list(_POOLS):
        pool._leave()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all)


def usable_cores() -> int:
    """Return the number of cores that this process may use, divided among the ranks of the machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores // _local_ranks(), 1)


def _local_ranks() -> int:
    launched = os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("WORLD_SIZE")
    if launched:
        return int(launched)  # without torchrun these are the ranks of all machines, which gives fewer workers
    distributed = sys.modules.get("torch.distributed")
    ranks = distributed is not None and distributed.is_available() and distributed.is_initialized()
    return int(distributed.get_world_size()) if distributed is not None and ranks else 1
