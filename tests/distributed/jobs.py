"""Commands that start several ranks, of which none may be left in the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml

from tests.cli.command import GFT, ROOT
from tests.distributed.launch import HANG

MARK = "LIGHTNING_GFT_TEST_JOB"
"""Environment variable by which the processes of a job are found."""
LAUNCHERS = {
    "lightning": ["python", "-m", "lightning_gft"],
    "torchrun": ["torchrun", "--standalone", "--nproc-per-node=2", "-m", "lightning_gft"],
}
"""Ways to start two ranks."""


def keep_every_step(folder: Path, **settings: object) -> list[str]:
    """Return arguments of a run that keeps a checkpoint of every step, with settings of ``ModelCheckpoint``."""
    keep = {
        "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
        "init_args": {"filename": "{step}", "every_n_train_steps": 1, **settings},
    }
    overlay = folder / "keep.yaml"
    overlay.write_text(yaml.safe_dump({"trainer": {"callbacks": [keep], "enable_checkpointing": True}}))
    return ["--config", str(overlay)]


def fit_on_two_ranks(launcher: str, folder: Path, *args: str) -> list[str]:
    """Return the command of a `fit` that writes below ``folder``, and a small validation at its end."""
    run = ["--trainer.devices=2", f"--trainer.default_root_dir={folder / 'run'}", "--trainer.enable_progress_bar=false"]
    return [*LAUNCHERS[launcher], "fit", "--config", GFT, *run, "--data.batch_size=2", *args]


class Job:
    """A command and all processes that come of it, wherever they hang.

    Args:
        command: Its first word, a Python program, is looked for beside the interpreter.
        log: File for all that is written.
        env: Variables that are set besides those of the tests.
        cwd: Where it runs.
    """

    def __init__(
        self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None, cwd: Path = ROOT
    ) -> None:
        self.mark = uuid.uuid4().hex
        self.log = log
        bin_folder = str(Path(sys.executable).parent)
        self.env = {
            **os.environ,
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            **(env or {}),
            MARK: self.mark,
        }
        with log.open("w") as file:
            self.process = subprocess.Popen(
                list(command), stdout=file, stderr=file, env=self.env, cwd=cwd, start_new_session=True
            )

    def pids(self) -> list[int]:
        """Return the processes of this job that are there; one that has ended and is not yet waited for is not."""
        return marked(self.mark)

    def wait(self) -> int:
        """Return the exit status of the command."""
        try:
            return self.process.wait(timeout=HANG)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"hangs:\n{self.written()}") from None

    def written(self) -> str:
        return self.log.read_text()

    def wait_until_gone(self) -> None:
        """Wait until no process is left."""
        deadline = time.monotonic() + HANG
        while left := self.pids():
            assert time.monotonic() < deadline, f"{left} hang:\n{self.written()}"
            time.sleep(0.2)

    def kill(self) -> None:
        while left := self.pids():
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        self.process.wait()


def marked(mark: str) -> list[int]:
    """Return the processes that were started with a mark in their environment and are there."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


@contextmanager
def running(*args: object, **kwargs: object) -> Iterator[Job]:
    """Start a :class:`Job`, and leave nothing of it."""
    job = Job(*args, **kwargs)  # type: ignore[arg-type]
    try:
        yield job
    finally:
        job.kill()


def wait_for(path: Path, job: Job) -> Path:
    """Return the path of a file as soon as it holds something."""
    deadline = time.monotonic() + HANG
    while not (path.exists() and path.stat().st_size):
        assert job.process.poll() is None, f"ended by itself:\n{job.written()}"
        assert time.monotonic() < deadline, job.written()
        time.sleep(0.05)
    return path
