"""Workers of a study that end in one way each; this module imports little, as each run does it anew."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.study.lines import append
from benchmarks.study.recorder import FILE
from benchmarks.study.worker import RESULT

if TYPE_CHECKING:
    from benchmarks.study.plan import Run


def pretend(run: Run, folder: Path, threads: int) -> None:
    """Do as a worker that is best at a learning rate of 0.01."""
    rows = [
        {"split": "val", "step": step, "mean": 0.5 + (run.learning_rate < 0.1) * step / 100, "sequences": step}
        for step in (0, 4, 8)
    ]
    for row in rows:
        append(folder / FILE, row)
    append(folder / RESULT, {"status": "finished", "error": ""})


def die_at_a_rate_of_a_tenth(run: Run, folder: Path, threads: int) -> None:
    pretend(run, folder, threads)
    if run.learning_rate == 0.1:
        (folder / RESULT).unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def hang(run: Run, folder: Path, threads: int) -> None:
    append(folder / FILE, {"split": "val", "step": 0, "mean": 0.5})
    time.sleep(600)


def fail_at_once(run: Run, folder: Path, threads: int) -> None:
    append(folder / RESULT, {"status": "failed", "error": "ValueError: no such loss"})


def die_at_once(run: Run, folder: Path, threads: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_while_writing(run: Run, folder: Path, threads: int) -> None:
    pretend(run, folder, threads)
    for name in (FILE, RESULT):
        (folder / name).write_text((folder / name).read_text().removesuffix("\n")[:-3])
    os.kill(os.getpid(), signal.SIGKILL)
