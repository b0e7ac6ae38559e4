"""The callback: what is said is said once, is on disk, survives a stop, and may end the run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from lightning_gft import (
    Advice,
    DemonstrationTeacher,
    DistillationLoss,
    ExpertSource,
    GFTLoss,
    GRPOLoss,
    SelfSource,
    SFTLoss,
    TeacherSource,
)
from lightning_gft.callbacks import Stage, StageSchedule
from lightning_gft.callbacks.advice import RULES
from lightning_gft.preflight.monitors import is_logged
from tests.callbacks.stages.runs import SHORT
from tests.module.runs import ROWS, Rows, fit, make_module

WORTHLESS: list[dict[str, Any]] = [{**row, "expert": "a", "teacher": ["b", "c", "d", "e"]} for row in ROWS]
"""No demonstration has a digit: all score 0."""
ZERO = "teacher_scores_zero"
STEPS = 9
"""Steps of a run to its end."""


def run(advice: Advice, *others: Callback, root: Path | None = None, version: str = "run", **arguments: Any) -> Any:
    logger = False if root is None else CSVLogger(str(root), name="", version=version)
    settings = {"max_steps": STEPS, "max_epochs": -1, "log_every_n_steps": 1, "logger": logger, **arguments}
    module = make_module(evaluation=SHORT)
    return fit(module, Rows(WORTHLESS, val_rows=ROWS[:1]), callbacks=[advice, *others], **settings)


def advised(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "advice.jsonl").read_text().splitlines()]


def test_says_once_in_one_line(tmp_path, capsys):
    run(advice := Advice(), root=tmp_path)
    lines = [line for line in capsys.readouterr().err.splitlines() if ZERO in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"Advice at step 5 ({ZERO}): the teacher's responses score 0 in every step")
    (row,) = [row for row in advised(tmp_path / "run") if row["name"] == ZERO]
    assert row.keys() == {"step", "name", "figures", "text"}
    assert (row["step"], row["figures"]) == (5, {"train/reward_by_source/teacher": 0.0})
    assert row["text"] in lines[0]
    assert [line.name for line in advice.lines].count(ZERO) == 1


def test_rule_that_is_ignored_is_silent():
    run(advice := Advice(ignore=[ZERO]))
    assert ZERO not in [line.name for line in advice.lines]


def test_reader_that_has_left_does_not_end_the_run(monkeypatch):
    class Gone:
        def write(self, *_: Any) -> None:
            raise BrokenPipeError

        def flush(self) -> None: ...

    monkeypatch.setattr(sys, "stderr", Gone())
    assert run(advice := Advice()).global_step == STEPS
    assert advice.lines


@pytest.mark.parametrize("stop", [True, [ZERO]])
def test_stop_ends_the_run_with_its_checkpoint_and_validation(stop, tmp_path, capsys):
    keeper = ModelCheckpoint(tmp_path / "kept", save_last=True)
    trainer = run(Advice(stop=stop), keeper, root=tmp_path, enable_checkpointing=True)
    assert trainer.global_step == 5
    assert trainer.state.finished
    assert Path(keeper.last_model_path).is_file()
    assert "val/greedy_accuracy" in trainer.callback_metrics
    assert advised(tmp_path / "run")[-1]["text"].endswith("; the run ends here, as `stop` asks")
    assert "the run ends here" in capsys.readouterr().err


def test_stop_waits_for_the_least_number_of_steps():
    assert run(Advice(stop=True), min_steps=8).global_step == 8


def test_other_advice_does_not_stop(tmp_path):
    run(advice := Advice(stop=["large_steps"]), root=tmp_path)
    assert ZERO in [line.name for line in advice.lines]
    assert "ends" not in advised(tmp_path / "run")[0]["text"]


def resumed(root: Path, at: int, version: str) -> tuple[Advice, Path]:
    """Run with a checkpoint at a step, and again from there."""
    keeper = ModelCheckpoint(root / "kept", "{step}", every_n_train_steps=at, save_top_k=-1)
    run(Advice(), keeper, root=root, version="run", enable_checkpointing=True)
    path = next((root / "kept").glob(f"step={at}.ckpt"))
    run(advice := Advice(), root=root, version=version, ckpt_path=str(path))
    return advice, root / version


@pytest.mark.parametrize(
    ("at", "version"),
    [(3, "run"), (8, "other"), *(pytest.param(*rest, marks=pytest.mark.slow) for rest in [(3, "other"), (8, "run")])],
)
def test_resumed_run_has_said_what_an_uninterrupted_one_says(at, version, tmp_path, capsys):
    run(whole := Advice(), root=tmp_path, version="whole")
    capsys.readouterr()
    advice, folder = resumed(tmp_path, at, version)
    assert advice.lines == whole.lines
    assert advised(folder) == advised(tmp_path / "whole")
    assert capsys.readouterr().err.count(ZERO) == (2 if at < 5 else 1)  # before and after the stop, or before alone


def test_run_that_stopped_can_be_resumed(tmp_path):
    keeper = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    run(Advice(stop=[ZERO]), keeper, enable_checkpointing=True)
    assert run(Advice(stop=[ZERO]), ckpt_path=str(tmp_path / "step=5.ckpt")).global_step == STEPS


@pytest.mark.parametrize("settings", [{}, {"limit_val_batches": 0}, {"min_steps": 8}])
def test_stop_keeps_its_own_step_from_which_the_run_trains_on(settings, tmp_path, capsys):
    keeper = ModelCheckpoint(tmp_path / "kept", "{step}", every_n_train_steps=3, save_top_k=-1)
    run(Advice(stop=True), Counter(), keeper, root=tmp_path, enable_checkpointing=True, **settings)
    at = settings.get("min_steps", 5)
    (path,) = tmp_path.rglob("stopped-*.ckpt")
    assert path == tmp_path / f"run/checkpoints/stopped-step={at}.ckpt"
    capsys.readouterr()
    again = run(Advice(stop=True), counter := Counter(), root=tmp_path, version="again", ckpt_path=str(path))
    assert again.global_step == STEPS
    assert counter.batches == STEPS  # callbacks that come after Advice have counted the step, too
    assert ZERO not in capsys.readouterr().err
    assert [row["step"] for row in advised(tmp_path / "again") if row["name"] == ZERO] == [5]


def test_stop_of_a_run_without_checkpoints_leaves_none(tmp_path):
    run(Advice(stop=True), root=tmp_path, enable_checkpointing=False)
    assert not [*tmp_path.rglob("*.ckpt")]


def test_advice_that_cannot_be_written_is_given_all_the_same(tmp_path, capsys):
    (tmp_path / "run/advice.jsonl").mkdir(parents=True)
    with pytest.warns(UserWarning, match=r"Advice is no longer written to the run's folder: .*advice.jsonl") as warned:
        assert run(Advice(), root=tmp_path).global_step == STEPS
    assert len([each for each in warned if "no longer written" in str(each.message)]) == 1
    assert ZERO in capsys.readouterr().err


def test_second_fit_begins_anew(tmp_path):
    advice = Advice()
    run(advice, root=tmp_path)
    first = advice.lines
    run(advice, root=tmp_path)
    assert advice.lines == first
    assert len(advised(tmp_path / "run")) == len(first)


def test_each_stage_has_a_history_of_its_own(tmp_path, capsys):
    stages = {"sft": Stage(SFTLoss(), max_steps=7), "gft": Stage(GFTLoss(), max_steps=7), "end": Stage(max_steps=3)}
    run(advice := Advice(), StageSchedule(stages, save=False), root=tmp_path, max_steps=-1)
    lines = [(line.step, line.stage) for line in advice.lines if line.name == ZERO]
    assert lines == [(5, "sft"), (12, "gft")]
    assert [row["stage"] for row in advised(tmp_path / "run") if row["name"] == ZERO] == ["sft", "gft"]
    assert f"Advice at step 12 of stage gft ({ZERO})" in capsys.readouterr().err


def test_figures_of_an_earlier_stage_are_not_taken_for_those_of_a_later_one(tmp_path):
    stages = {"all": Stage(SFTLoss(), max_steps=2), "expert": Stage(SFTLoss(), {"expert": ExpertSource()}, max_steps=9)}
    run(advice := Advice(), StageSchedule(stages, save=False), max_steps=-1)
    assert {line.name for line in advice.lines} >= {"expert_scores_zero"}
    assert ZERO not in {line.name for line in advice.lines}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ignore": ["entropy_colapse"]}, r"`ignore` of Advice: .*'entropy_colapse'; did you mean entropy_collapse\?"),
        ({"stop": ["x"]}, r"`stop` of Advice: .* there are .*small_loss"),
        ({"stop": "entropy_collapse"}, r"`stop` of Advice: expected true, false or a list of names"),
        ({"stop": ["small_loss"], "ignore": ["small_loss"]}, "`stop` of Advice: expected rules that .* got small_loss"),
    ],
)
def test_settings_that_do_not_work(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Advice(**settings)


def test_stop_leaves_out_what_is_no_fault():
    assert "small_loss" not in Advice(stop=True)._ends
    assert "small_loss" in Advice(stop=["small_loss"])._ends


def judged() -> SelfSource:
    return SelfSource(2, max_new_tokens=4, teacher=DemonstrationTeacher("{prompt}{demonstration}"))


class Counter(Callback):
    """Counts batches over all fits of a run."""

    batches = 0

    def on_train_batch_end(self, *_: Any) -> None:
        self.batches += 1

    def state_dict(self) -> dict[str, Any]:
        return {"batches": self.batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.batches = state_dict["batches"]


class Names(Callback):
    """Asks which figures a run logs."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.names = pl_module.logged_names()


def test_rules_read_figures_that_a_run_logs():
    sources = {"expert": ExpertSource(), "teacher": TeacherSource(4), "self": SelfSource(2, max_new_tokens=4)}
    logged = set()
    for settings in ({"loss": GRPOLoss()}, {"loss": DistillationLoss(), "of_self": judged()}):
        own = {"self": settings.pop("of_self")} if "of_self" in settings else {}
        module = make_module(sources={**sources, **own}, evaluation=SHORT, **settings)
        fit(module, Rows(val_rows=ROWS), callbacks=[names := Names()], max_steps=1)
        logged |= names.names
    read = {figure for rule in RULES for figure in rule.figures if "*" not in figure}
    assert {figure for figure in read if not is_logged(figure, logged)} == set()
