"""The ways of starting that docs/launching.md shows, as it shows them, come to the same weights."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.command import ROOT, column, logged
from tests.distributed.jobs import Job, keep_every_step, running, wait_for
from tests.distributed.launch import free_port
from tests.test_docs import Block, blocks

PAGE = ROOT / "docs/launching.md"
STEPS = 8
SMALL = (
    "--trainer.enable_progress_bar=false",
    f"--trainer.max_steps={STEPS}",
    f"--trainer.val_check_interval={STEPS}",
    "--data.num_train=32",
    "--data.num_val=4",
    "--data.num_second_skill=4",
    "--data.batch_size=2",
    "--model.optimizer.lr=0.001",
    "--model.evaluation.num_samples=2",
)
SRUN = """#!/bin/bash
# Stands for SLURM's: a task of two on each of two machines, which all get the signals that the step gets.
while [[ $1 == --* ]]; do shift; done
for number in 0 1; do
  SLURM_PROCID=$number SLURM_NODEID=$number SLURM_LOCALID=0 "$@" &
  echo $! > "$TASKS/task-$number"
done
status=0
for task in $(jobs -p); do wait $task || status=$?; done
exit $status
"""
SCONTROL = """#!/bin/bash
echo "$@" >> "$TASKS/requeued"
"""
ALLOCATION = {
    "SLURM_JOB_ID": "",  # Lightning makes a port of its end
    "SLURM_JOB_NAME": "gft",
    "SLURM_NNODES": "2",
    "SLURM_NTASKS": "2",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_NODELIST": "127.0.0.1",
}


def shown(word: str) -> Block:
    """Return the only block of the page with a word in it."""
    (block,) = (block for block in blocks(PAGE, "bash") if word in block.text)
    return block


def script(word: str, folder: Path, *args: str) -> list[str]:
    """Return the command that runs a block of the page, with settings that make the run small and keep every step."""
    settings = " ".join(["--trainer.strategy=ddp", *keep_every_step(folder, save_top_k=-1), *SMALL, *args])
    text = shown(word).text
    assert text.count("--trainer.strategy=ddp") == 1
    return ["bash", "-c", text.replace("--trainer.strategy=ddp", settings)]


def root(folder: Path) -> str:
    return f"--trainer.default_root_dir={folder}"


def trained(folder: Path) -> dict[str, Any]:
    """Return the weights that the run below ``folder`` has ended with."""
    (path,) = folder.glob(f"lightning_logs/*/checkpoints/step={STEPS}.ckpt")
    weights: dict[str, Any] = torch.load(path, weights_only=True)["state_dict"]
    return weights


def check_same(folder: Path, expected: Mapping[str, Any]) -> None:
    torch.testing.assert_close(trained(folder), expected, rtol=0, atol=0)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The weights of a run whose ranks Lightning starts, which ends well and speaks once."""
    folder = tmp_path_factory.mktemp("lightning")
    command = script("gft.yaml --trainer.devices=2 --trainer.strategy=ddp", folder, root(folder))
    with running(command, folder / "log") as job:
        assert job.wait() == 0, job.written()
    assert job.written().count("greedy_accuracy") == 1
    assert len(list(folder.glob("lightning_logs/version_*"))) == 1
    return trained(folder)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Job]]:
    """The page's command on two machines, which are this one."""
    master = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "DEVICES": "1"}
    with ExitStack() as stack:
        jobs = []
        for rank in range(2):
            command = script("--node-rank", tmp_path, root(tmp_path / "run"))
            job = Job(command, tmp_path / f"log-{rank}", {**master, "NODE_RANK": str(rank)})
            stack.callback(job.kill)
            jobs.append(job)
        yield jobs


@pytest.mark.slow
def test_two_machines_train_as_one_with_two_ranks(nodes: list[Job], tmp_path: Path, expected: dict[str, Any]):
    for job in nodes:
        assert job.wait() == 0, job.written()
    check_same(tmp_path / "run", expected)
    assert [job.written().count("greedy_accuracy") for job in nodes] == [1, 0]
    norms = column(logged(tmp_path / "run"), "train/grad_norm")
    assert len(norms) == STEPS
    assert max(norms) > 0


def prepare_slurm(folder: Path) -> dict[str, str]:
    """Let SLURM's commands stand in a folder, and return the variables that a job has."""
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / "configs").symlink_to(ROOT / "configs")
    path = f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**ALLOCATION, "SLURM_JOB_ID": job_number(), "PATH": path, "TASKS": str(folder)}


def job_number() -> str:
    """Return the number of a job whose port, which Lightning makes of its last four digits, is free."""
    for number in range(70_000 + os.getpid() % 5000, 80_000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", 15_000 + number % 10_000))
            return str(number)
    raise AssertionError("no port is free")


@pytest.mark.slow
def test_slurm_job_is_stopped_in_time_queued_again_and_goes_on(tmp_path: Path, expected: dict[str, Any]):
    env = prepare_slurm(tmp_path)
    run = tmp_path / "runs/slurm"
    command = script("#SBATCH", tmp_path)
    with running(command, tmp_path / "first", env, cwd=tmp_path) as job:
        wait_for(run / "lightning_logs/version_0/checkpoints/step=2.ckpt", job)
        for task in tmp_path.glob("task-*"):
            os.kill(int(task.read_text()), signal.SIGTERM)
        assert job.wait() == 128 + signal.SIGTERM
    assert len(list(run.glob("lightning_logs/version_0/checkpoints/stopped-step=*.ckpt"))) == 1, job.written()
    assert (tmp_path / "requeued").read_text() == f"requeue {env['SLURM_JOB_ID']}\n"

    with running(command, tmp_path / "second", env, cwd=tmp_path) as job:
        assert job.wait() == 0, job.written()
    check_same(run, expected)
    assert len((tmp_path / "requeued").read_text().splitlines()) == 1


@pytest.mark.parametrize("status", [1, 128 + signal.SIGTERM])
def test_slurm_job_that_failed_is_not_queued_again(status: int, tmp_path: Path):
    env = prepare_slurm(tmp_path)
    (tmp_path / "lightning-gft").write_text(f"#!/bin/bash\nexit {status}")
    (tmp_path / "lightning-gft").chmod(0o755)
    with running(script("#SBATCH", tmp_path), tmp_path / "log", env, cwd=tmp_path) as job:
        assert job.wait() == status
    assert not (tmp_path / "requeued").exists()
