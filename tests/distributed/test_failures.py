"""A rank that fails, is killed or hangs ends the whole run, and the run says why."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from lightning_gft.checkpoint import check_checkpoint
from lightning_gft.cli import main
from tests.cli.command import GFT, SMALL
from tests.distributed.jobs import Job, fit_on_two_ranks, keep_every_step, running, wait_for
from tests.distributed.launch import run_two_processes

# A timeout of 30 minutes, which no test waits for.
STRATEGIES = {"lightning": "fsdp", "torchrun": "ddp"}
slow = pytest.mark.slow


def command(launcher: str, folder: Path, *args: str) -> list[str]:
    """Return a run of two ranks that keeps every step below ``folder``."""
    keep = keep_every_step(folder, dirpath=str(folder / "kept"))
    return fit_on_two_ranks(
        launcher, folder, *keep, "--trainer.max_steps=100", "--trainer.val_check_interval=100", *args
    )


def faulty_reward(folder: Path, *settings: str) -> list[str]:
    reward = "--model.sampler.rewards.accuracy"
    given = [f"{reward}.{setting}" for setting in (f"folder={folder}", *settings)]
    return [f"{reward}=tests.distributed.faults.FaultyReward", *given]


def hungry_rectifier(folder: Path) -> list[str]:
    rectifier = "--model.loss.rectifier"
    settings = [f"{rectifier}.folder={folder}", "--model.micro_batch_tokens=64"]
    return [f"{rectifier}=tests.distributed.faults.MemoryHungryRectifier", *settings]


FAULTS = {
    "reward": (faulty_reward, "reward 'accuracy' (FaultyReward) raised KeyError"),
    "memory": (hungry_rectifier, "CUDA out of memory. Tried to allocate 2.00 GiB."),
}


def check_end(job: Job, folder: Path) -> None:
    """Check that nothing runs on, and that what was kept before the failure is whole and all there is."""
    job.wait_until_gone()
    (kept,) = (folder / "kept").iterdir()
    check_checkpoint(kept)
    written = {path.name.split(".")[0] for path in (folder / "run").rglob("*") if path.is_file()}
    assert "config" in written
    record = {"run", "weights", "train"}
    assert {name.split("-")[0] for name in written} <= {"config", "events", "hparams", "metrics"} | record
    assert "[rank" not in job.written().replace("[rank: ", "")  # the beginning of each line of a rank's traceback


def fit_with_a_fault(rank: int, folder: str) -> None:
    with Path(folder, f"stderr-{rank}").open("w") as written:
        os.dup2(written.fileno(), 2)
        several = ("--trainer.strategy=ddp", "--trainer.devices=2", f"--trainer.default_root_dir={folder}/run")
        main(["fit", "--config", GFT, *SMALL, *several, *faulty_reward(Path(folder))])


def test_error_of_one_rank_ends_it_before_the_other_answers(tmp_path: Path):
    with pytest.raises(RuntimeError, match="rank 1 ended with exit code 1"):
        run_two_processes(fit_with_a_fault, str(tmp_path))
    errors = [line for line in (tmp_path / "stderr-1").read_text().splitlines() if line.startswith("error: ")]
    assert errors[0].startswith(f"error: rank 1 of 2 on {socket.gethostname()}: {FAULTS['reward'][1]}")
    assert len(errors) == 1


@pytest.mark.parametrize(
    ("launcher", "fault"),
    [
        pytest.param("lightning", "reward", marks=slow),
        pytest.param("torchrun", "memory", marks=slow),
        pytest.param("lightning", "memory", marks=slow),
        pytest.param("torchrun", "reward", marks=slow),
    ],
)
def test_error_of_one_rank_is_shown_and_ends_all(launcher: str, fault: str, tmp_path: Path):
    make, message = FAULTS[fault]
    args = [f"--trainer.strategy={STRATEGIES[launcher]}", *make(tmp_path)]
    with running(command(launcher, tmp_path, *args), tmp_path / "log") as job:
        assert job.wait() != 0
        check_end(job, tmp_path)
    assert (tmp_path / "rank-1").exists()
    errors = [line for line in job.written().splitlines() if line.startswith("error: ")]
    assert errors[0].startswith(f"error: rank 1 of 2 on {socket.gethostname()}: {message}")
    assert all(line.startswith("error: rank 0 of 2") and "another rank is gone" in line for line in errors[1:])
    if launcher == "torchrun":
        assert message in job.written().split("Root Cause")[1]


@pytest.mark.parametrize(
    ("launcher", "killed"),
    [
        pytest.param("lightning", "rank-0", marks=slow),
        pytest.param("lightning", "rank-1", marks=slow),
        pytest.param("torchrun", "rank-1", marks=slow),
        pytest.param("torchrun", "torchrun", marks=slow),
    ],
)
def test_death_of_one_process_ends_all(launcher: str, killed: str, tmp_path: Path):
    # Rank 1 hangs, where it cannot notice the death of another.
    args = [f"--trainer.strategy={STRATEGIES[launcher]}", *faulty_reward(tmp_path, "hangs=true")]
    with running(command(launcher, tmp_path, *args), tmp_path / "log") as job:
        pids = {f"rank-{rank}": int(wait_for(tmp_path / f"rank-{rank}", job).read_text()) for rank in range(2)}
        os.kill(pids.get(killed, job.process.pid), signal.SIGKILL)
        assert job.wait() != 0
        check_end(job, tmp_path)
    if killed == "rank-1":
        assert "SIGKILL" in job.written() or "another rank is gone" in job.written() or "code -9" in job.written()
    else:
        assert "ends, because its launcher is gone" in job.written()


@pytest.mark.parametrize(
    ("launcher", "timeout"),
    [
        pytest.param("lightning", None, marks=slow),
        pytest.param("lightning", "0:04:00", marks=slow),  # in which the second rank must have started, too
        pytest.param("torchrun", "0:02:00", marks=slow),
    ],
)
def test_rank_that_hangs_ends_all_after_the_timeout(launcher: str, timeout: str | None, tmp_path: Path):
    args, settings = ["--trainer.strategy=ddp"], ["hangs=true", "patience=5"]
    if timeout is not None:
        args = ["--trainer.strategy=DDPStrategy", f"--trainer.strategy.timeout={timeout}"]
        settings = ["hangs=true"]
    with running(command(launcher, tmp_path, *args, *faulty_reward(tmp_path, *settings)), tmp_path / "log") as job:
        assert job.wait() != 0
        check_end(job, tmp_path)
    error = f"error: rank 0 of 2 on {socket.gethostname()}: another rank did not answer in time (Timed out waiting"
    assert error in job.written()
