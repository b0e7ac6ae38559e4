"""A step that hangs is reported with its phase, once, from a thread that ends with the run."""

from __future__ import annotations

import os
import threading
import time as real_time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.callbacks import Callback

from lightning_gft import Watchdog
from lightning_gft.phases import Phase, phase
from tests.distributed.launch import run_two_processes
from tests.module.runs import ROWS, DigitSum, Rows, fit, make_module

PATIENCE = 300.0
"""Seconds that only a watchdog that does not work takes, however busy the machine is."""


class Drive:
    """A watchdog whose time the test moves, and whose thread is not started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        monkeypatch.setattr(Watchdog, "_watch", lambda self, ended: None)
        self.dog, self.module, self.time = Watchdog(**settings), make_module(), 0.0
        self.module.clock.now = lambda: self.time
        self.trainer = SimpleNamespace(global_rank=3, global_step=0)
        self.dog.on_train_start(self.trainer, self.module)

    @contextmanager
    def step(self, waited: float = 0.0) -> Iterator[None]:
        with self.phase("waiting"):
            self.time += waited
        self.dog.on_train_batch_start(self.trainer, self.module, None, 0)
        yield
        self.trainer.global_step += 1
        self.dog.on_train_batch_end(self.trainer, self.module, {}, None, 0)

    def steps(self, *seconds: float, name: Phase = "update") -> None:
        for each in seconds:
            with self.step(), self.phase(name):
                self.time += each

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        with self.module.clock.running(), phase(name):
            yield


@pytest.fixture
def drive(monkeypatch):
    return Drive(monkeypatch, factor=5, least_seconds=60)


@pytest.mark.parametrize("name", ["rollout", "teacher", "reward", "update", "collective"])
def test_a_stall_is_told_once_with_phase_times_and_rank(drive, name):
    drive.steps(20, 30, 40)
    with drive.step(), drive.phase(name):
        drive.time += 149
        assert drive.dog.look() is None
        drive.time += 1
        line = drive.dog.look()
        assert line.startswith(
            f"Rank 3 stalls after optimizer step 3: 150 s, usually 30 s; it has been in phase {name} for 150 s: "
        )
        assert "\n" not in line
        drive.time += 1000
        assert drive.dog.look() is None
    with drive.step(), drive.phase(name):
        drive.time += 1000
        assert "after optimizer step 4: 1000 s, usually 35 s" in drive.dog.look()


def test_each_phase_says_what_to_look_at(drive):
    lines = set()
    for name in ("rollout", "teacher", "reward", "update", "collective"):
        drive.steps(*[20] * 30)
        with drive.step(), drive.phase(name):
            drive.time += 200
            lines.add(drive.dog.look().split(": ")[-1])
    assert len(lines) == 5


def test_seconds_are_those_of_the_whole_step(drive):
    drive.steps(30)
    with drive.step(waited=70):
        with drive.phase("rollout"):
            drive.time += 40
        with drive.phase("update"):
            drive.time += 39
            assert drive.dog.look() is None
            drive.time += 1
            assert "150 s, usually 30 s; it has been in phase update for 40 s" in drive.dog.look()


def test_short_steps_are_given_the_least_seconds(drive):
    drive.steps(1, 1)
    with drive.step(), drive.phase("reward"):
        drive.time += 59
        assert drive.dog.look() is None
        drive.time += 1
        assert drive.dog.look() is not None


def test_waiting_for_data_is_watched_between_two_steps(drive):
    drive.steps(10)
    with drive.phase("waiting"):
        drive.time += 61
        assert "in phase waiting for 61 s" in drive.dog.look()


def test_first_steps_validation_and_checkpoints_are_not_watched(drive):
    with drive.step(), drive.phase("rollout"):
        drive.time += 10_000
        assert drive.dog.look() is None  # nothing is usual yet
    drive.steps(*[1] * 30)
    drive.module.clock.enter("validation")
    with drive.phase("reward"):
        drive.time += 10_000
        assert drive.dog.look() is None
    drive.module.clock.stop()
    drive.time += 10_000  # in no phase
    assert drive.dog.look() is None
    with drive.phase("collective"):  # as shards are gathered for a checkpoint
        drive.time += 10_000
        assert drive.dog.look() is None
    with drive.step(), drive.phase("update"):  # to which none of that counts
        drive.time += 59
        assert drive.dog.look() is None
    drive.module.rows.stage = (1, "gft")
    with drive.step(), drive.phase("rollout"):
        drive.time += 10_000
        assert drive.dog.look() is None  # nothing is usual in this stage yet
    with drive.step(), drive.phase("rollout"):
        drive.time += 60_000
        assert drive.dog.look() is not None


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"factor": 1}, "`factor` of Watchdog: expected"), ({"least_seconds": 0}, "`least_seconds` of Watchdog: exp")],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        Watchdog(**settings)


@contextmanager
def stderr_to(path: Path) -> Iterator[Callable[[str], bool]]:
    """Write what goes to stderr to a file, and give a function that waits for a text in it."""

    def is_there(text: str, path: Path = path) -> bool:
        until = real_time.monotonic() + PATIENCE
        while real_time.monotonic() < until and text not in path.read_text():
            stop.wait(0.02)
        return text in path.read_text()

    stop = threading.Event()
    before = os.dup(2)
    with path.open("w") as file:
        os.dup2(file.fileno(), 2)
        try:
            yield is_there
        finally:
            os.dup2(before, 2)
            os.close(before)


class Hangs(DigitSum):
    """Hangs in one call, for as long as a function takes."""

    def __init__(self, call: int, wait: Callable[[], Any]) -> None:
        super().__init__()
        self.calls, self.call, self.wait = 0, call, wait

    def __call__(self, **columns: Any) -> Any:
        self.calls += 1
        if self.calls == self.call:
            self.wait()
        return super().__call__(**columns)


class Alive(Callback):
    """Remembers the threads of watchdogs as training ends."""

    def on_train_batch_end(self, *_: Any) -> None:
        self.threads = [thread for thread in threading.enumerate() if thread.name == "watchdog"]


def test_a_reward_that_hangs_is_told_while_it_does(tmp_path):
    found, alive = [], Alive()
    with stderr_to(tmp_path / "stderr") as is_there:
        reward = Hangs(4, lambda: found.append(is_there("it has been in phase reward for ")))
        dog = Watchdog(factor=1.01, least_seconds=0.05)
        fit(make_module(reward=reward), Rows([*ROWS, *ROWS], batch_size=1), callbacks=[dog, alive])
    assert found == [True]
    assert (tmp_path / "stderr").read_text().count("phase reward") <= 8  # not again and again
    (thread,) = alive.threads
    assert thread.daemon
    assert not thread.is_alive()


def test_the_thread_ends_with_a_run_that_fails():
    def fail() -> None:
        raise ValueError("no scores")

    alive = Alive()
    with pytest.raises(RuntimeError, match="no scores"):
        fit(make_module(reward=Hangs(4, fail)), Rows(batch_size=1), callbacks=[Watchdog(), alive])
    assert [thread.is_alive() for thread in alive.threads] == [False]


def run_late(rank: int, folder: str) -> str:
    """Train on two ranks, of which the second waits in its reward until both have told; return what a rank said."""
    paths = [Path(folder, str(number)) for number in range(2)]
    with stderr_to(paths[rank]) as is_there:

        def wait() -> None:
            is_there("Rank 1 stalls") and is_there("in phase collective", paths[0])

        reward = Hangs(4, wait) if rank else DigitSum()
        dog = Watchdog(factor=1.01, least_seconds=0.05)
        fit(make_module(reward=reward), Rows([*ROWS, *ROWS], batch_size=1), callbacks=[dog], strategy="ddp", devices=2)
    return paths[rank].read_text()


@pytest.mark.slow
def test_of_two_ranks_the_late_one_names_its_phase_and_the_other_waits(tmp_path):
    waiting, late = run_two_processes(run_late, str(tmp_path))
    assert "Rank 0 stalls" in waiting
    assert "in phase collective for" in waiting
    assert "Rank 1 stalls" in late
    assert "in phase reward for" in late
