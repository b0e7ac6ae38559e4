"""A process that fails, is killed or hangs ends the whole run in time, and the run says why."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from lightning_gft.checkpoint import check_checkpoint
from tests.cli.command import GFT
from tests.distributed.jobs import Job, running, wait_for

LAUNCHERS = {
    "lightning": ["python", "-m", "lightning_gft"],
    "torchrun": ["torchrun", "--standalone", "--nproc-per-node=2", "-m", "lightning_gft"],
}
STRATEGIES = {"lightning": "fsdp2", "torchrun": "ddp"}
TIMEOUTS = {"lightning": 45, "torchrun": 20}
"""Seconds. Lightning starts the second process while the first waits for it already, which counts."""

SOON = 20.0
"""Seconds in which all processes must have ended, on a busy machine too, when none waits for the timeout."""

TORCHRUN_GRACE = 30.0
"""Seconds that torchrun gives a process to end by itself."""


def command(launcher: str, folder: Path, *args: str) -> list[str]:
    """Return a run of two processes that keeps every step below ``folder``."""
    keep = {
        "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
        "init_args": {"dirpath": str(folder / "kept"), "filename": "{step}", "every_n_train_steps": 1},
    }
    overlay = folder / "keep.yaml"
    overlay.write_text(yaml.safe_dump({"trainer": {"callbacks": [keep], "enable_checkpointing": True}}))
    run = ["--trainer.devices=2", "--trainer.max_steps=100", f"--trainer.default_root_dir={folder / 'run'}"]
    small = ["--trainer.enable_progress_bar=false", "--trainer.val_check_interval=100", "--data.batch_size=2"]
    return [*LAUNCHERS[launcher], "fit", "--config", GFT, "--config", str(overlay), *run, *small, *args]


def faulty_reward(folder: Path, hangs: bool = False) -> list[str]:
    reward = "--model.sampler.rewards.accuracy"
    settings = [f"{reward}.folder={folder}", f"{reward}.hangs={str(hangs).lower()}"]
    return [f"{reward}=tests.distributed.faults.FaultyReward", *settings]


def hungry_rectifier(folder: Path) -> list[str]:
    rectifier = "--model.loss.rectifier"
    settings = [f"{rectifier}.folder={folder}", "--model.micro_batch_tokens=64"]
    return [f"{rectifier}=tests.distributed.faults.MemoryHungryRectifier", *settings]


FAULTS = {
    "reward": (faulty_reward, "reward 'accuracy' (FaultyReward) raised KeyError"),
    "memory": (hungry_rectifier, "CUDA out of memory. Tried to allocate 2.00 GiB."),
}


def start(launcher: str, folder: Path, *args: str) -> Job:
    folder.mkdir(exist_ok=True)
    return Job(command(launcher, folder, *args), folder / "log")


def check_end(job: Job, folder: Path) -> None:
    """Check that nothing runs on, and that what was kept before the failure is whole and all there is."""
    assert job.is_gone(SOON), job.written()
    (kept,) = (folder / "kept").iterdir()
    check_checkpoint(kept)
    written = {path.name.split(".")[0] for path in (folder / "run").rglob("*") if path.is_file()}
    assert "config" in written
    assert written <= {"config", "events", "hparams", "metrics"}
    assert "[rank" not in job.written().replace("[rank: ", "")  # the beginning of each line of a process's traceback


@pytest.fixture(scope="module")
def hanging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Job, Path]]]:
    """Runs in which a process hangs, started first: while they wait for the timeout, the other tests run."""
    with ExitStack() as stack:
        jobs = {}
        for launcher, timeout in TIMEOUTS.items():
            folder = tmp_path_factory.mktemp(launcher)
            timed = ["--trainer.strategy=DDPStrategy", f"--trainer.strategy.timeout=0:00:{timeout}"]
            job = start(launcher, folder, *timed, *faulty_reward(folder, hangs=True))
            stack.callback(job.kill)
            jobs[launcher] = job, folder
        yield jobs


slow = pytest.mark.slow


@pytest.mark.usefixtures("hanging")
@pytest.mark.parametrize(
    ("launcher", "fault"),
    [
        ("lightning", "reward"),
        ("torchrun", "memory"),
        pytest.param("lightning", "memory", marks=slow),
        pytest.param("torchrun", "reward", marks=slow),
    ],
)
def test_error_of_one_process_is_told_and_ends_all(launcher: str, fault: str, tmp_path: Path):
    make, message = FAULTS[fault]
    args = [f"--trainer.strategy={STRATEGIES[launcher]}", *make(tmp_path)]
    with running(command(launcher, tmp_path, *args), tmp_path / "log") as job:
        wait_for(tmp_path / "rank-1", job)
        assert job.wait(SOON) != 0
        check_end(job, tmp_path)
    errors = [line for line in job.written().splitlines() if line.startswith("error: ")]
    assert errors[0].startswith(f"error: process 1 of 2 on {socket.gethostname()}: {message}")
    assert all(line.startswith("error: process 0 of 2") and "another process is gone" in line for line in errors[1:])
    if launcher == "torchrun":
        assert message in job.written().split("Root Cause")[1]


@pytest.mark.usefixtures("hanging")
@pytest.mark.parametrize(
    ("launcher", "killed"),
    [
        ("lightning", "rank-0"),
        ("lightning", "rank-1"),
        pytest.param("torchrun", "rank-1", marks=slow),
        pytest.param("torchrun", "torchrun", marks=slow),
    ],
)
def test_death_of_one_process_ends_all(launcher: str, killed: str, tmp_path: Path):
    # Rank 1 hangs, where it cannot notice the death of another.
    args = [f"--trainer.strategy={STRATEGIES[launcher]}", *faulty_reward(tmp_path, hangs=True)]
    with running(command(launcher, tmp_path, *args), tmp_path / "log") as job:
        pids = {f"rank-{rank}": int(wait_for(tmp_path / f"rank-{rank}", job).read_text()) for rank in range(2)}
        os.kill(pids.get(killed, job.process.pid), signal.SIGKILL)
        assert job.wait(SOON) != 0
        check_end(job, tmp_path)
    if killed == "rank-1":
        assert "SIGKILL" in job.written() or "another process is gone" in job.written() or "code -9" in job.written()
    else:
        assert "ends, because the one that started it is gone" in job.written()


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_process_that_hangs_ends_all_after_the_timeout(launcher: str, hanging: dict[str, tuple[Job, Path]]):
    job, folder = hanging[launcher]
    wait_for(folder / "rank-1", job)
    assert job.wait(TIMEOUTS[launcher] + SOON + TORCHRUN_GRACE) != 0
    check_end(job, folder)
    told = f"error: process 0 of 2 on {socket.gethostname()}: another process did not answer in time (Timed out waiting"
    assert told in job.written()
