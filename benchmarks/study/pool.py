"""Runs of a study in parallel processes."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from benchmarks.study.lines import read
from benchmarks.study.plan import PlanError, Run
from benchmarks.study.recorder import FILE
from benchmarks.study.results import Results
from benchmarks.study.worker import RESULT, work

_SHOWN = ("mean", "greedy_accuracy", "kl", "second_skill/greedy_accuracy")
"""Figures of a run that has ended, for the terminal."""


@dataclass
class _Started:
    run: Run
    folder: Path
    process: BaseProcess
    since: float


class Pool:
    """Trains runs one after the other on several processes, and keeps each as it ends.

    Args:
        results: Where runs are kept, and which of them have ended before.
        folder: Folder for logs of runs; a run's own is removed when it has finished.
        workers: Runs at once.
        threads: Threads of each.
        minutes: No run begins after that many minutes.
        limit: A run that takes more minutes than this is ended, and has failed.
        work: Trains one run.
    """

    def __init__(
        self,
        results: Results,
        folder: Path,
        *,
        workers: int = 1,
        threads: int = 1,
        minutes: float = math.inf,
        limit: float = 30.0,
        work: Callable[[Run, Path, int], None] = work,
    ) -> None:
        self.results, self.folder = results, folder
        self.workers, self.threads = workers, threads
        self.ends, self.limit = time.monotonic() + 60 * minutes, limit
        self._context = get_context("forkserver")  # libraries are imported once, in a process without threads
        self._context.set_forkserver_preload(["benchmarks.study.worker"])
        self._work = work
        self._running: list[_Started] = []

    def train(self, wanted: Callable[[], Iterator[Run]]) -> bool:
        """Train all runs that are wanted, and return whether all have ended.

        Args:
            wanted: Returns the runs by priority; asked anew before each run, as results choose what follows.

        Raises:
            PlanError: If a run raises an error before it has measured the base: its settings are wrong.
        """
        try:
            while True:
                while len(self._running) < self.workers and (run := self._next(wanted)) is not None:
                    self._start(run)
                if not self._running:
                    return next((False for run in wanted() if run not in self.results), True)
                connection.wait([started.process.sentinel for started in self._running], timeout=5)
                self._collect()
        finally:
            for started in self._running:
                started.process.kill()

    def _next(self, wanted: Callable[[], Iterator[Run]]) -> Run | None:
        if time.monotonic() > self.ends:
            return None
        under_way = {started.run.fingerprint for started in self._running}
        return next((run for run in wanted() if run not in self.results and run.fingerprint not in under_way), None)

    def _start(self, run: Run) -> None:
        folder = self.folder / run.fingerprint
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        process = self._context.Process(target=self._work, args=(run, folder, self.threads))
        process.start()
        self._running.append(_Started(run, folder, process, time.monotonic()))

    def _collect(self) -> None:
        for started in [*self._running]:
            if started.process.is_alive() and time.monotonic() - started.since < 60 * self.limit:
                continue
            if started.process.is_alive():
                started.process.kill()
            started.process.join()
            self._running.remove(started)
            self._keep(started)

    def _keep(self, started: _Started) -> None:
        run, folder = started.run, started.folder
        evaluations = read(folder / FILE)
        end = next(iter(read(folder / RESULT)), None)
        if end is not None and end["status"] == "failed" and not evaluations:
            raise PlanError(f"{run.title}: expected settings of a run, got {end['error']}; {folder / 'log'} has all")
        end = end or self._ended_from_outside(started)
        self.results.add(run, evaluations, **end)
        last = evaluations[-1] if evaluations else {}
        took = f"{(time.monotonic() - started.since) / 60:.1f} min"
        figures = ", ".join(f"{name} {last[name]:.3f}" for name in _SHOWN if name in last)
        print(f"{time.strftime('%H:%M')} {run.title}: {end['status']} in {took}; {figures} {end['error']}", flush=True)
        if end["status"] == "finished":
            shutil.rmtree(folder)

    def _ended_from_outside(self, started: _Started) -> dict[str, str]:
        if time.monotonic() - started.since >= 60 * self.limit:
            return {"status": "failed", "error": f"took more than {self.limit:g} minutes"}
        return {"status": "failed", "error": f"ended with exit code {started.process.exitcode}"}
