"""Tasks in worker processes that can be killed, each item within its own limits of time and memory."""

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
    "OPENBLAS_NUM_THREADS": "1",  # numpy would start threads when it is imported, which cannot be forked
    "PYTHONHASHSEED": "0",  # a set has the same order in every worker
    "PYTHONUNBUFFERED": "1",  # what a task prints is there when its worker is killed
}
_BESIDE_OTHERS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class WorkerPool:
    """WorkerProcess processes that run one task on many items; what an item does to its process costs that item alone.

    A process that takes too long is killed from outside, with all that it has started, and another takes its place, in
    milliseconds. Processes start with the first items, no more than there are items, and end with :meth:`close`, with
    this object or with this process, however that ends. Any thread may call. A process that is forked has workers of
    its own. This needs Linux or macOS.

    The task is sent once: by its name where it is in a module, by value where it belongs to the main script. On Linux
    its module is imported once, in a fresh process from which the workers are forked; if that starts threads or a GPU,
    each worker imports for itself. So import at the top of the module what the task needs, but torch only if it does. A
    task that is an object may have a method ``preload``, called there as well, for imports of optional libraries and
    what else all workers may share, and a method ``setup``, which each worker calls before its first item. The time of
    all this does not count. ``SIGALRM`` is free to use, as a task runs in the main thread.

    Args:
        task: Function of one item. Items and results are pickled.
        seconds: Longest time of an item.
        memory_mb: Most memory, in MiB, that a worker may take beyond what it has after its start, on Linux; ``None``
            for no limit.
        workers: Number of processes; by default the cores that this process may use, shared among the ranks of the
            machine. Where there are several, each runs one thread.
        of: The part whose options these are, as errors name it.

    Raises:
        ValueError: If a number is out of range.
        TypeError: If one is no number.

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
        """Whether a worker is there, as it is from the first items on unless the last one was killed."""
        return any(worker.process.is_there for worker in self._workers)

    def map(self, items: Sequence[Any]) -> list[Any]:
        """Return the task's results in the order of the items, a :class:`Failed` where there is none.

        Raises:
            RewardError: If the task cannot be sent, or a process does not start.
        """
        with self._attending():
            self._forget_ended()
            return Round(items, self._workers, self).run()

    def start(self, count: int) -> None:
        """Have workers for so many items, as far as there may be, and do not wait for them."""
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
        """Wait until the workers that have been started are ready for items.

        Raises:
            RewardError: If one does not start.
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
                self.close()  # items may be under way, and nothing waits for their results
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
        """Forget the workers of the process from which this one was forked, and keep none of their sockets open."""
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
    """Return the cores of this process: those that it may run on, shared among the ranks of the machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores // _local_ranks(), 1)


def _local_ranks() -> int:
    launched = os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("WORLD_SIZE")
    if launched:
        return int(launched)  # without torchrun the ranks of all machines, which errs towards fewer workers
    distributed = sys.modules.get("torch.distributed")
    ranks = distributed is not None and distributed.is_available() and distributed.is_initialized()
    return int(distributed.get_world_size()) if distributed is not None and ranks else 1
