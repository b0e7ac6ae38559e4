"""A rank that fails, is killed or hangs ends the whole run, and the run says why."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace

import pytest
from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from lightning.pytorch.strategies.launchers import subprocess_script

from lightning_gft.checkpoint import check_checkpoint
from tests.cli.command import SMALL
from tests.distributed.jobs import Job, fit_on_two_ranks, keep_every_step, running, wait_for
from tests.forking import HANG, forking, run_command
from tests.rewards.processes import alive

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
    check_kept(folder)
    assert "[rank" not in job.written().replace("[rank: ", "")  # the beginning of each line of a rank's traceback


def check_kept(folder: Path) -> None:
    (kept,) = (folder / "kept").iterdir()
    check_checkpoint(kept)
    written = {path.name.split(".")[0] for path in (folder / "run").rglob("*") if path.is_file()}
    assert "config" in written
    record = {"run", "weights", "train"}
    assert {name.split("-")[0] for name in written} <= {"config", "events", "hparams", "metrics"} | record


class ForkedRank:
    """Rank 1, in place of the process that Lightning's launcher starts: it begins when it is given the arguments.

    Args:
        folder: Where it writes its standard error.
    """

    def __init__(self, folder: Path) -> None:
        self._ours, theirs = Pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._ours.close()
            with suppress(EOFError):  # rank 0 has ended
                run_command(*theirs.recv(), {2: folder / "stderr-1"})
            os._exit(3)

    def start(self, command: Sequence[str], env: Mapping[str, str], cwd: None) -> ForkedRank:
        """Do as `subprocess.Popen`."""
        self._ours.send((command[2:], dict(env)))
        return self

    def poll(self) -> int | None:
        ended, status = (0, 0) if self.returncode is not None else os.waitpid(self.pid, os.WNOHANG)
        if ended:
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def launch(args: Sequence[str], folder: Path) -> None:
    """Run the command line as rank 0, whose launcher looks after rank 1 often."""
    rank_1 = ForkedRank(folder)  # before there are threads
    observer = partial(_ChildProcessObserver, os.getpid(), sleep_period=0.1)
    subprocess_script._launch_process_observer = lambda ranks: observer(ranks).start()
    subprocess_script.subprocess = SimpleNamespace(Popen=rank_1.start)
    run_command(args, os.environ.copy(), {2: folder / "stderr-0"})


def test_error_of_one_rank_ends_all_though_another_cannot_notice(tmp_path: Path):
    faulty = faulty_reward(tmp_path, "others_hang=true")
    args = command("lightning", tmp_path, *SMALL, "--trainer.strategy=ddp", *faulty)
    process = forking().Process(target=launch, args=(args[args.index("fit") :], tmp_path), daemon=True)
    process.start()
    process.join(HANG)
    assert process.exitcode == -signal.SIGKILL
    assert not any(alive(int((tmp_path / f"rank-{rank}").read_text())) for rank in range(2))
    check_kept(tmp_path)
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
