"""Runs one round of items through the workers of a pool, from one thread."""

from __future__ import annotations

import pickle
import selectors
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lightning_gft.rewards.failures import Failed, RewardError
from lightning_gft.rewards.workers.messages import HEADER
from lightning_gft.rewards.workers.process import WorkerProcess

if TYPE_CHECKING:
    from lightning_gft.rewards.pool import WorkerPool

START_SECONDS = 300.0
"""Seconds for a process to import the modules of its task, even on a busy machine."""
_AHEAD = 32
"""Most items that wait at a worker, if items are cheap."""
_CHEAP_SECONDS = 0.005
_DISTURBED = Failed("crash", "wrote to the connection of its process")


@dataclass(eq=False)
class Worker:
    """A worker with the items that it was sent and has not answered, and the deadline of the first of them.

    Attributes:
        pid: Process id, once the worker is ready.
    """

    process: WorkerProcess
    deadline: float
    pid: int | None = None
    is_used: bool = False
    is_quick: bool = False
    began: float = 0.0
    sent: deque[int] = field(default_factory=deque)

    @property
    def is_ready(self) -> bool:
        """Whether the task is loaded and set up."""
        return self.pid is not None

    def give(self, items: dict[int, bytes], seconds: float) -> None:
        """Send items by their numbers; an idle worker begins with the first."""
        if not self.sent:
            self._begin(seconds)
        self.sent.extend(items)
        self.process.post(*items.values())

    def take(self, seconds: float) -> int:
        """Return the number of the item whose result has arrived; the next item begins."""
        self.is_used, self.is_quick = True, time.monotonic() - self.began < _CHEAP_SECONDS
        self._begin(seconds)
        return self.sent.popleft()

    def _begin(self, seconds: float) -> None:
        self.began = time.monotonic()
        self.deadline = self.began + seconds


class Round:
    """The items of one call on their way through the workers."""

    def __init__(self, items: Sequence[Any], workers: list[Worker], pool: WorkerPool) -> None:
        self.items, self.workers, self.pool = items, workers, pool
        self.results: list[Any] = [None] * len(items)
        self.waiting = deque(range(len(items)))
        self.again: set[int] = set()

    def run(self) -> list[Any]:
        """Return the result of each item."""
        while self.waiting or any(worker.sent for worker in self.workers):
            self.pool.start(len(self.waiting) + sum(bool(worker.sent) for worker in self.workers))
            self._feed()
            self._attend_all()
        return self.results

    def settle(self) -> None:
        """Wait until every worker is ready."""
        while not all(worker.is_ready for worker in self.workers):
            self._attend_all()

    def _attend_all(self) -> None:
        for worker in self._wait():
            self._attend(worker)

    def _feed(self) -> None:
        for worker in self.workers:
            fair = -(-len(self.waiting) // len(self.workers))
            most = min(_AHEAD, fair) if worker.is_quick else 1
            if worker.is_ready and self.waiting and len(worker.sent) <= most // 2:
                worker.give(self._next(most - len(worker.sent)), self.pool.seconds)

    def _next(self, count: int) -> dict[int, bytes]:
        taken: dict[int, bytes] = {}
        while self.waiting and len(taken) < count:
            number = self.waiting.popleft()
            try:
                taken[number] = HEADER.pack(number) + pickle.dumps(self.items[number])
            except Exception as error:  # noqa: BLE001 -- becomes the item's result
                self.results[number] = Failed("error", f"cannot be sent ({type(error).__name__}: {error})")
        return taken

    def _wait(self) -> list[Worker]:
        """Return the workers that have sent data or can receive more, and those beyond their deadline."""
        busy = [worker for worker in self.workers if worker.sent or not worker.is_ready]
        with selectors.DefaultSelector() as selector:
            for worker in busy:
                events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.process.is_sending else 0)
                selector.register(worker.process, events, worker)
            until = min((worker.deadline for worker in busy), default=0.0)
            said = [key.data for key, _ in selector.select(max(until - time.monotonic(), 0))]
        return said + [worker for worker in busy if worker not in said and worker.deadline <= time.monotonic()]

    def _attend(self, worker: Worker) -> None:
        worker.process.flush()
        try:
            messages = worker.process.receive()
        except EOFError:
            return self._lose(worker, self._loss(worker))
        except ConnectionError:
            return self._lose(worker, _DISTURBED)
        for kind, number, value in map(_read, messages):
            if kind == "ready":
                worker.pid = value
            elif kind == "failed":
                raise RewardError("could not be loaded: " + value)
            elif not worker.sent or number not in (worker.sent[0], None):
                return self._lose(worker, _DISTURBED)
            elif kind == "memory":
                return self._lose(worker, Failed("memory", f"needed more than {self.pool.memory_mb} MiB of memory"))
            else:
                self.results[worker.take(self.pool.seconds)] = Failed("error", value) if kind == "error" else value
        if not messages and worker.deadline <= time.monotonic():
            self._lose(worker, self._lateness(worker))
        return None

    def _loss(self, worker: Worker) -> Failed:
        status = worker.process.status()
        if not worker.is_ready:
            raise RewardError(f"did not start: its process ended, with exit status {status}, while it was loaded")
        if status == -9:
            return Failed("memory", "had its process killed, as the kernel does where memory runs out")
        if status is None:
            return Failed("crash", "closed the connection of its process")
        return Failed("crash", f"ended its process, with exit status {status}")

    def _lateness(self, worker: Worker) -> Failed:
        if not worker.is_ready:
            raise RewardError(
                f"did not start: its process took longer than {START_SECONDS:g} s to import it and was killed; make "
                "the import faster, or run fewer processes on this machine"
            )
        return Failed("timeout", f"took longer than {self.pool.seconds:g} s, and its process was killed")

    def _lose(self, worker: Worker, failure: Failed) -> None:
        """Kill a worker, and return its other items to the queue.

        After a crash or a lack of memory, earlier items may be to blame. The item gets a second try if there were any.
        """
        worker.process.kill()
        self.workers.remove(worker)
        waiting = list(worker.sent)
        if waiting and (failure.kind == "timeout" or not worker.is_used or waiting[0] in self.again):
            self.results[waiting.pop(0)] = failure
        elif waiting:
            self.again.add(waiting[0])
        self.waiting.extendleft(reversed(waiting))


def _read(message: bytes) -> tuple[str, int | None, Any]:
    """Return the parts of a worker's message: its kind, the item's number, and a result or a text."""
    try:
        kind, number, value = pickle.loads(message)  # noqa: S301 (from our own process)
    except Exception as error:  # noqa: BLE001 -- becomes the item's result
        return "error", None, f"gave a result that cannot be read here ({type(error).__name__}: {error})"
    return kind, number, value
