"""Lines about a run's progress, for where no terminal shows a bar."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest
from lightning.pytorch.callbacks import Callback

from lightning_gft import Evaluation, SFTLoss
from lightning_gft.callbacks import Stage, StageSchedule
from lightning_gft.cli import life, main
from lightning_gft.cli.progress import ProgressLines
from tests.cli.command import GFT, SMALL
from tests.module.runs import ROWS, Rows, fit, make_module

EVALUATION = Evaluation(num_samples=2, max_new_tokens=4, kl=False)


LAST = "greedy_accuracy 0"


@pytest.fixture(autouse=True)
def _no_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no thread look at a clock that a test moves."""
    monkeypatch.setattr(life, "_LOOK_EACH", 1e6)


class Clock(Callback):
    """Advances by ``pace`` seconds with every batch of training and of validation."""

    def __init__(self, pace: float) -> None:
        self.now, self.pace = 0.0, pace

    def __call__(self) -> float:
        return self.now

    def on_train_batch_start(self, *_: Any) -> None:
        self.now += self.pace

    def on_validation_batch_start(self, *_: Any) -> None:
        self.now += self.pace


def run(pace: float, **arguments: Any) -> None:
    settings = {"max_steps": 8, "max_epochs": -1, "enable_progress_bar": True, "num_sanity_val_steps": 1}
    module, clock = make_module(evaluation=EVALUATION), Clock(pace)
    settings["callbacks"] = [clock, ProgressLines(clock)]
    fit(module, Rows(val_rows=ROWS), **{**settings, **arguments})


def said(capsys: pytest.CaptureFixture[str], what: str) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith(what)]


def test_quick_steps_get_few_lines(capsys):
    run(pace=0.01)
    lines = said(capsys, "Step")
    assert [line.split(":")[0] for line in lines] == ["Step 1 of 8", "Step 8 of 8"]
    assert ", 0:00:00 left" in lines[0]
    for figure in ("reward ", "tokens/s ", "loss "):
        assert figure in lines[1]


def test_slow_steps_get_a_line_each_with_the_time_left(capsys):
    run(pace=40.0, limit_val_batches=0)
    lines = said(capsys, "Step")
    assert len(lines) == 8
    assert lines[0].endswith(", 0:04:40 left")  # 7 steps of 40 seconds
    assert "left" not in lines[-1]


def test_validation_begins_and_ends(capsys):
    run(pace=40.0, max_steps=2)
    begins, *batches, ends, again, _, last = said(capsys, "Validation")
    assert begins == "Validation at step 1 begins"
    assert batches == ["Validation: batch 1 of 1, greedy_accuracy 0"]
    assert ends.startswith("Validation took 0:00:40, greedy_accuracy 0")
    assert again == "Validation at step 2 begins"
    assert "mean@2 " in last


def test_long_validation_tells_its_own_time_left(capsys):
    data = Rows(val_rows=[*ROWS, *ROWS])
    data.eval_batch_size = 2
    clock = Clock(40.0)
    fit(
        make_module(evaluation=EVALUATION),
        data,
        max_steps=1,
        enable_progress_bar=True,
        callbacks=[clock, ProgressLines(clock)],
    )
    batches = [line for line in said(capsys, "Validation") if "batch" in line]
    assert [line.split(", ")[-1] for line in batches] == ["0:02:00 left", "0:01:20 left", "0:00:40 left", LAST]


def test_end_follows_from_epochs_and_updates_too(capsys):
    module = make_module(evaluation=EVALUATION, updates_per_batch=2)
    fit(module, max_epochs=3, enable_progress_bar=True, callbacks=[ProgressLines()])
    assert said(capsys, "Training") == ["Training from step 0 to 6"]
    settings = {"max_epochs": 3, "max_steps": 100, "enable_progress_bar": True, "callbacks": [ProgressLines()]}
    fit(make_module(evaluation=EVALUATION), **settings)
    assert said(capsys, "Training") == ["Training from step 0 to 3, where max_epochs=3 ends the run"]


def test_stages_that_end_a_run_are_not_taken_for_its_epochs(capsys):
    stages = StageSchedule({"sft": Stage(SFTLoss(), max_steps=2)}, save=False)
    run(pace=0.01, max_steps=100, limit_val_batches=0, callbacks=[stages, ProgressLines()])
    assert said(capsys, "Training") == ["Training from step 0 to 2"]


def test_reader_that_has_left_does_not_end_the_run(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(sys, "stdout", os.fdopen(writer, "w"))
    run(pace=40.0)
    with pytest.raises(BrokenPipeError):
        sys.stdout.close()


def test_command_line_prints_lines_off_a_terminal(capsys, tmp_path):
    shown = [flag for flag in SMALL if not flag.startswith("--trainer.enable_progress_bar")]
    main(["fit", "--config", GFT, f"--trainer.default_root_dir={tmp_path}", *shown])
    out = capsys.readouterr().out
    assert "Step 2 of 2: reward" in out
    assert "Validation at step 2 begins" in out
