"""Tasks in worker processes that can be killed, each item within its own limits of time and memory."""

from __future__ import annotations

import os
import pickle
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lightning_gft.checks import check_count, check_number
from lightning_gft.rewards.failures import RewardError
from lightning_gft.rewards.process import Worker, pack

_START_SECONDS = 300.0
"""Time for a process to import what its task needs, on a machine that is busy."""
_AHEAD = 32
"""Most items that a worker is sent beyond the one under way, where they are cheap."""
_CHEAP_SECONDS = 0.005

FailureKind = Literal["timeout", "memory", "crash", "error"]


@dataclass(frozen=True)
class Failed:
    """What became of an item that has no result.

    Attributes:
        kind: ``"timeout"`` and ``"memory"`` for the limits, ``"crash"`` where the process ended, ``"error"`` where the
            task raised, or its result cannot be sent.
        message: What happened, and where.

    Example:
        >>> Failed("timeout", "took longer than 5 s, and its process was killed").kind
        'timeout'
    """

    kind: FailureKind
    message: str


class WorkerPool:
    """Worker processes that run one task on many items; what an item does to its process costs that item alone.

    A process that takes too long is killed with its group from outside, whatever it does, and another takes its place.
    Processes start with the first items, no more than there are items, and end with :meth:`close`, with this object or
    with this process, however that ends. Any thread may call. A process that is forked has workers of its own.

    The task is sent once: by its name where it is in a module, by value where it belongs to the main script. Workers
    import its module and nothing else, so a task in a module without torch starts in a moment. What it needs it should
    import at the top of its module, or in a method ``setup`` where it is an object: each worker calls that once, and
    the time does not count. ``SIGALRM`` is free to use, as a task runs in its process's main thread.

    Args:
        task: Function of one item. Items and results are pickled.
        seconds: Longest time of an item.
        memory_mb: Most memory, in MiB, that a worker may take beyond what it has after its start, on Linux; ``None``
            for no limit.
        workers: Number of processes; by default the cores that this process may use, shared among the ranks of the
            machine.

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
        self, task: Callable[[Any], Any], *, seconds: float, memory_mb: int | None = 1024, workers: int | None = None
    ) -> None:
        self.task = task
        self.seconds = check_number("seconds", seconds, above=0)
        self.memory_mb = None if memory_mb is None else check_count("memory_mb", memory_mb)
        self.workers = None if workers is None else check_count("workers", workers)
        self._lock = threading.RLock()
        self._workers: list[_Attended] = []

    def map(self, items: Sequence[Any]) -> list[Any]:
        """Return the task's results in the order of the items, a :class:`Failed` where there is none.

        Raises:
            RewardError: If the task cannot be sent, or a process does not start.
        """
        with self._lock:
            self._workers = [worker for worker in self._workers if worker.is_there()]
            return self._run(items)

    def close(self) -> None:
        """End the workers; a later :meth:`map` starts new ones."""
        with self._lock:
            while self._workers:
                self._workers.pop().process.kill()

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, items: Sequence[Any]) -> list[Any]:
        results: list[Any] = [None] * len(items)
        waiting = deque(range(len(items)))
        try:
            while True:
                self._start(len(waiting))
                self._feed(waiting, items)
                if not waiting and not any(worker.sent for worker in self._workers):
                    return results
                for worker in self._wait():
                    self._attend(worker, results, waiting)
        except BaseException:
            self.close()  # items are under way, and nobody waits for their results
            raise

    def _start(self, count: int) -> None:
        idle = sum(not worker.sent for worker in self._workers)
        room = (self.workers or usable_cores()) - len(self._workers)
        missing = min(count - idle, room)
        if missing <= 0:
            return
        packed = pack(self.task, self.memory_mb)
        self._workers += [_Attended(Worker(packed), time.monotonic() + _START_SECONDS) for _ in range(missing)]

    def _feed(self, waiting: deque[int], items: Sequence[Any]) -> None:
        fair = -(-len(waiting) // max(len(self._workers), 1))
        for worker in self._workers:
            most = min(_AHEAD, fair) if worker.is_quick else 1
            if worker.is_ready and len(worker.sent) <= most // 2:
                numbers = [waiting.popleft() for _ in range(min(most - len(worker.sent), len(waiting)))]
                worker.give({number: pickle.dumps(items[number]) for number in numbers}, self.seconds)

    def _wait(self) -> list[_Attended]:
        """Return the workers that have said something, or else those that are late."""
        busy = [worker for worker in self._workers if worker.sent or not worker.is_ready]
        with selectors.DefaultSelector() as selector:
            for worker in busy:
                events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.process.is_sending else 0)
                selector.register(worker.process, events, worker)
            until = min(worker.deadline for worker in busy)
            said = [key.data for key, _ in selector.select(max(until - time.monotonic(), 0))]
        return said or [worker for worker in busy if worker.deadline <= time.monotonic()]

    def _attend(self, worker: _Attended, results: list[Any], waiting: deque[int]) -> None:
        worker.process.flush()
        try:
            messages = worker.process.receive()
        except EOFError:
            self._lose(worker, results, waiting, late=False)
            return
        for message in messages:
            kind, value = pickle.loads(message)  # noqa: S301 (from our own process)
            if kind == "ready":
                worker.is_ready = True
            elif kind == "failed":
                raise RewardError("could not be loaded: " + value)
            else:
                results[worker.take(self.seconds)] = self._result(kind, value)
            if kind == "memory":
                self._replace(worker, waiting)
                return
        if not messages and worker.deadline <= time.monotonic():
            self._lose(worker, results, waiting, late=True)

    def _result(self, kind: str, value: Any) -> Any:
        if kind == "memory":
            return Failed("memory", f"needed more than memory_mb={self.memory_mb}")
        return Failed("error", value) if kind == "error" else value

    def _lose(self, worker: _Attended, results: list[Any], waiting: deque[int], late: bool) -> None:
        status = worker.process.kill()
        if not worker.is_ready:
            how = f"took longer than {_START_SECONDS:g} s and was killed" if late else f"ended with status {status}"
            raise RewardError(
                f"did not start: its process {how}; make the import of the task faster, or run fewer processes on "
                "this machine"
            )
        if worker.sent:
            results[worker.sent.popleft()] = self._loss(status, late)
        self._replace(worker, waiting)

    def _replace(self, worker: _Attended, waiting: deque[int]) -> None:
        worker.process.kill()
        self._workers.remove(worker)
        waiting.extendleft(reversed(worker.sent))

    def _loss(self, status: int, late: bool) -> Failed:
        if late:
            return Failed("timeout", f"took longer than seconds={self.seconds:g}, and its process was killed")
        if status == -9:
            return Failed("memory", "had its process killed, as the kernel does where memory runs out")
        return Failed("crash", f"ended its process, with exit status {status}")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_workers", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _workers=[], _lock=threading.RLock())


@dataclass
class _Attended:
    """A worker, the items that it was sent and has not answered, and when it is late with the first of them."""

    process: Worker
    deadline: float
    is_ready: bool = False
    is_quick: bool = False
    began: float = 0.0
    sent: deque[int] = field(default_factory=deque)

    def is_there(self) -> bool:
        return self.process.owner == os.getpid() and self.process.process.poll() is None

    def give(self, items: dict[int, bytes], seconds: float) -> None:
        if not self.sent:
            self._begin(seconds)
        self.sent.extend(items)
        self.process.post(*items.values())

    def take(self, seconds: float) -> int:
        """Return the number of the item whose result has come: the next is under way."""
        self.is_quick = time.monotonic() - self.began < _CHEAP_SECONDS
        self._begin(seconds)
        return self.sent.popleft()

    def _begin(self, seconds: float) -> None:
        self.began = time.monotonic()
        self.deadline = self.began + seconds


def usable_cores() -> int:
    """Return the cores that this process may use, shared among the ranks of the machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores // _local_ranks(), 1)


def _local_ranks() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("WORLD_SIZE") or 1)
