"""Validation, test and prediction end on both ranks at the first signal, though ranks differ in their batches."""

from __future__ import annotations

import csv
import io
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest
from torch import distributed

from lightning_gft.cli import main
from lightning_gft.stored import StoredGroups
from tests.callbacks.predictions import untimed
from tests.cli.command import GFT, ROOT, SMALL
from tests.cli.test_stop_sampling import StoppingEngine
from tests.distributed.jobs import LAUNCHERS, running, wait_for
from tests.distributed.launch import run_two_processes
from tests.module.runs import of_the_run

NEVER = 99
STOPPED = [128 + signal.SIGTERM] * 2
UNEVEN = ("--data.num_train=9", "--data.num_val=5", "--data.eval_batch_size=2", "--data.batch_size=2")
"""Rank 0 has three batches in each stage, rank 1 two. A batch of a validation makes a draw of the start and another."""


class Stopping(StoppingEngine):
    """Gives its rank a signal in one of the rank's draws."""

    draws_of_ranks: ClassVar[tuple[int, int]] = (NEVER, NEVER)

    def __init__(self) -> None:
        super().__init__(self.draws_of_ranks[distributed.get_rank()])


class Ended(NamedTuple):
    """How the command line ended on one rank, and what it wrote."""

    status: Any
    output: str
    errors: str


@contextmanager
def errors_to(path: Path) -> Iterator[None]:
    """Context in which all that this process writes to standard error is written to a file, also by loggers."""
    before = os.dup(2)
    with path.open("w") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


def command(rank: int, subcommand: str, folder: Path, strategy: str, draws: tuple[int, int], *args: str) -> Ended:
    Stopping.draws_of_ranks = draws
    engine = f"--model.policy.rollout={__name__}.Stopping"
    several = (f"--trainer.strategy={strategy}", "--trainer.devices=2", f"--trainer.default_root_dir={folder}")
    errors, status = folder.parent / f"errors-{rank}", None
    with redirect_stdout(io.StringIO()) as output, errors_to(errors):
        try:
            main([subcommand, "--config", GFT, *SMALL, *UNEVEN, engine, *several, *args])
        except SystemExit as end:
            status = end.code
    return Ended(status, output.getvalue(), errors.read_text())


def both(*args: Any) -> list[Ended]:
    ended: list[Ended] = run_two_processes(command, *args)
    return ended


def rows(folder: Path) -> list[dict[str, float]]:
    """Return the logged figures that follow from the run alone."""
    found = []
    for path in folder.glob("lightning_logs/*/metrics.csv"):
        with path.open(newline="") as file:
            found += [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    return [of_the_run(row) for row in found]


@pytest.mark.parametrize(
    ("subcommand", "strategy", "draws"),
    [
        pytest.param("validate", "ddp", (2, 2), id="both"),
        pytest.param("validate", "fsdp", (NEVER, 4), id="one", marks=pytest.mark.slow),
        pytest.param("test", "fsdp", (1, 4), id="in different batches", marks=pytest.mark.slow),
        pytest.param("test", "ddp", (6, NEVER), id="in a batch that the other does not have", marks=pytest.mark.slow),
    ],
)
def test_an_evaluation_ends_without_figures(subcommand: str, strategy: str, draws: tuple[int, int], tmp_path: Path):
    ranks = both(subcommand, tmp_path / "run", strategy, draws)
    assert [ended.status for ended in ranks] == STOPPED
    assert not any("greedy_accuracy" in ended.output for ended in ranks)
    assert rows(tmp_path / "run") == []
    what = "validation" if subcommand == "validate" else subcommand
    last = f"Stopped; the {what} is incomplete and has no figures; the same command repeats it"
    assert ranks[0].errors.splitlines()[-1] == last
    assert last not in ranks[1].errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "draws", "kept"),
    [
        pytest.param("ddp", (2, 2), 4, id="both"),
        pytest.param("fsdp", (NEVER, 2), 4, id="one"),
        pytest.param("fsdp", (3, NEVER), 8, id="in a batch that the other does not have"),
        pytest.param("ddp", (1, 1), 0, id="in the first batch"),
    ],
)
def test_a_prediction_keeps_its_batches_and_resumes(strategy: str, draws: tuple[int, int], kept: int, tmp_path: Path):
    groups = tmp_path / "run/groups"
    ranks = both("predict", tmp_path / "run", strategy, draws)
    assert [ended.status for ended in ranks] == STOPPED
    last = (
        f"The groups sampled so far are in {groups}; the same command resumes there"
        if kept
        else "Stopped before the first batch was complete; the same command begins again"
    )
    assert ranks[0].output.splitlines()[-1] == last
    assert last not in ranks[1].output
    assert kept == (len(StoredGroups(groups)) if kept else len([*groups.glob("*.parquet")]))
    both("predict", tmp_path / "run", strategy, (NEVER, NEVER))
    both("predict", tmp_path / "whole", strategy, (NEVER, NEVER))
    assert untimed(groups) == untimed(tmp_path / "whole/groups")


FIT = ("--trainer.max_steps=4", "--trainer.enable_checkpointing=true", "--model.optimizer.lr=0.01")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "draws"),
    [
        pytest.param("ddp", (4, 4), id="both"),
        pytest.param("fsdp", (NEVER, 5), id="one"),
        pytest.param("fsdp", (8, NEVER), id="in a batch that the other does not have"),
    ],
)
def test_a_validation_within_a_fit_keeps_the_step(strategy: str, draws: tuple[int, int], tmp_path: Path):
    ranks = both("fit", tmp_path / "stopped", strategy, draws, *FIT)
    assert [ended.status for ended in ranks] == STOPPED
    (path,) = tmp_path.glob("stopped/lightning_logs/version_0/checkpoints/stopped-step=2.ckpt")
    assert ranks[0].errors.splitlines()[-1] == f"Stopped; resume by --ckpt_path={path}"
    both("fit", tmp_path / "resumed", strategy, (NEVER, NEVER), *FIT, f"--ckpt_path={path}")
    both("fit", tmp_path / "whole", strategy, (NEVER, NEVER), *FIT)
    whole = rows(tmp_path / "whole")
    assert sum("val/greedy_accuracy" in row for row in whole) == 2
    assert rows(tmp_path / "stopped") + rows(tmp_path / "resumed") == whole  # none is lost, none is there twice


NOTED = """
import os, pathlib
from lightning_gft import TransformersEngine
class Noted(TransformersEngine):
    def generate(self, *args, **settings):
        pathlib.Path(os.environ["NOTE"], "drawing-" + os.environ["LOCAL_RANK"]).write_text("begun")
        return super().generate(*args, **settings)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "asked"), [("ddp", signal.SIGINT), ("fsdp", signal.SIGTERM)])
def test_a_validation_of_far_too_many_samples_ends_at_the_first_signal(
    strategy: str, asked: signal.Signals, tmp_path: Path
):
    (tmp_path / "noted.py").write_text(NOTED)
    command = [
        *LAUNCHERS["lightning"],
        *("validate", "--config", GFT, "--trainer.devices=2", f"--trainer.strategy={strategy}"),
        *("--model.evaluation.num_samples=100000", "--model.policy.rollout=noted.Noted"),
        f"--trainer.default_root_dir={tmp_path / 'run'}",
    ]
    env = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "NOTE": str(tmp_path)}
    with running(command, tmp_path / "log", env) as job:
        for rank in range(2):
            wait_for(tmp_path / f"drawing-{rank}", job)
        os.killpg(job.process.pid, asked)
        assert job.wait() == 128 + asked
        job.wait_until_gone()
        assert job.written().rstrip().endswith("the same command repeats it")
