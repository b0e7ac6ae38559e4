"""Runs as they are found on disk: cut off, resumed, without figures, of several versions."""

from __future__ import annotations

import math
import os

import pytest

from lightning_gft.errors import GFTValueError
from lightning_gft.record import ADVICE
from lightning_gft.report.rows import advice_row
from lightning_gft.report.runs import Run, read_runs
from tests.report.logged import train, val, write_log, write_rows, write_run_json


def make_newest(path):
    os.utime(path, (2**31, 2**31))


def steps(run: Run, key: str) -> list[int]:
    return [step for step, _ in run.series(key)]


def test_figures_are_read_by_step(tmp_path):
    write_log(tmp_path, [train(1, grad_norm=3.0), val(1, 0.25), train(2, grad_norm=1.0)])
    run = Run.read("gft", tmp_path)
    assert run.series("train/grad_norm") == [(1, 3.0), (2, 1.0)]
    assert run.series("val/greedy_accuracy") == [(1, 0.25)]
    assert run.series("val/nothing") == []
    assert (run.trained, run.last_step) == (True, 2)


def test_the_last_version_counts_whatever_the_times_of_files(tmp_path):
    write_log(tmp_path, [val(1, 0.75)], version=10)
    make_newest(write_log(tmp_path, [val(1, 0.25)], version=9))  # as a copy may leave them
    assert Run.read("gft", tmp_path).series("val/greedy_accuracy") == [(1, 0.75)]


def test_a_folder_of_several_runs_is_no_run(tmp_path):
    for name in ("sft", "gft"):
        write_log(tmp_path / name, [train(1)])
    with pytest.raises(GFTValueError, match=r"expected one run in .*, got 2; give each by itself: .*/gft, .*/sft$"):
        Run.read("both", tmp_path)


def test_a_validation_does_not_stand_for_the_training_run(tmp_path):
    write_log(tmp_path, [train(1), val(1, 0.75)], version=0)
    make_newest(write_log(tmp_path, [val(0, 0.5)], version=1))
    assert Run.read("gft", tmp_path).series("val/greedy_accuracy") == [(1, 0.75)]


@pytest.mark.parametrize("cut", [2, 3, 10])
def test_a_line_that_is_being_written_does_not_count(tmp_path, cut):
    path = write_log(tmp_path, [train(1, loss=0.125), train(2, loss=0.25)])
    path.write_bytes(path.read_bytes()[:-cut])
    assert Run.read("gft", tmp_path).series("train/loss") == [(1, 0.125)]
    assert steps(Run.read("gft", tmp_path), "train/reward") == [1]


@pytest.mark.parametrize("content", ["", "epoch,step,train/loss\r\n", "epoch,st"])
def test_a_run_that_has_logged_nothing_yet_has_no_figures(tmp_path, content):
    write_log(tmp_path, []).write_text(content)
    run = Run.read("gft", tmp_path)
    assert run.figures == {}
    assert (run.trained, run.last_step, run.datasets) == (False, 0, [])


def test_nan_stays_nan(tmp_path):
    write_log(tmp_path, [train(1, loss=math.nan), train(2, loss=math.inf)])
    (_, first), (_, second) = Run.read("gft", tmp_path).series("train/loss")
    assert math.isnan(first)
    assert math.isinf(second)


def test_a_resumed_run_is_whole_and_each_step_counts_once(tmp_path):
    write_log(tmp_path, [train(step, loss=0.0) for step in (1, 2, 3, 4, 5)] + [val(5, 0.1)], version=0)
    make_newest(write_log(tmp_path, [val(3, 0.5)] + [train(step, loss=1.0) for step in (4, 5, 6)], version=1))
    run = Run.read("gft", tmp_path)
    assert run.series("train/loss") == [(1, 0.0), (2, 0.0), (3, 0.0), (4, 1.0), (5, 1.0), (6, 1.0)]
    assert run.series("val/greedy_accuracy") == [(3, 0.5)]  # that of step 5 is of what was trained anew
    assert [part.until for part in run.parts] == [4, math.inf]


def test_a_run_resumed_twice_is_whole(tmp_path):
    for version, first in enumerate((1, 4, 6)):
        path = write_log(tmp_path, [train(step, loss=version) for step in range(first, first + 4)], version=version)
        os.utime(path, (2**31 + version, 2**31 + version))
    run = Run.read("gft", tmp_path)
    assert run.series("train/loss") == [(1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (6, 2), (7, 2), (8, 2), (9, 2)]


def test_a_run_that_logs_every_few_steps_is_not_taken_for_a_resumed_one(tmp_path):
    write_log(tmp_path, [train(step, loss=0.0) for step in (10, 20, 30, 40)], version=0)
    make_newest(write_log(tmp_path, [train(step, loss=1.0) for step in (10, 20)], version=1))
    assert Run.read("gft", tmp_path).series("train/loss") == [(10, 1.0), (20, 1.0)]


def test_the_record_says_whether_a_run_was_resumed(tmp_path):
    write_log(tmp_path, [train(step, loss=0.0) for step in (1, 2, 3)], version=0)
    newest = write_log(tmp_path, [train(step, loss=1.0) for step in (3, 4)], version=1)  # the first two were not logged
    make_newest(newest)
    write_run_json(newest.parent)
    assert steps(Run.read("gft", tmp_path), "train/loss") == [3, 4]
    write_run_json(newest.parent, starts=[{"started": "", "step": 2}])
    assert steps(Run.read("gft", tmp_path), "train/loss") == [1, 2, 3, 4]


def test_steps_that_appear_twice_in_one_log_count_once(tmp_path):
    write_log(tmp_path, [train(1, loss=0.0), train(2, loss=0.0, old=1.0), train(2, loss=1.0), train(1, loss=2.0)])
    run = Run.read("gft", tmp_path)
    assert run.series("train/loss") == [(1, 2.0)]
    assert run.series("train/old") == []


def test_rows_of_a_record_that_were_trained_anew_are_left_out(tmp_path):
    for version, first in enumerate((1, 3)):
        path = write_log(tmp_path, [train(step) for step in range(first, first + 4)], version=version)
        os.utime(path, (2**31 + version, 2**31 + version))
        write_rows(path.parent, ADVICE, [{"step": step, "text": str(version)} for step in (first, first + 3)])
    rows = Run.read("gft", tmp_path).rows(ADVICE, advice_row)
    assert rows == [(1, "0"), (3, "1"), (6, "1")]


def test_data_sets_are_those_that_were_measured(tmp_path):
    write_log(tmp_path, [val(0, 0.5, **{"hard/greedy_accuracy": 0.1, "rewards/format/mean": 1.0})])
    assert Run.read("gft", tmp_path).datasets == ["hard"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "in line 2"),
        ("step,train/loss\n1,0.5\nmany,2\n", "in line 3"),
        *((f"step\n{step}\n", "in line 2") for step in ("x", "inf", "nan", "1e30", "-5")),
        ("step,train/loss\n1,0.5\n" + "1" * 200_000 + "\n", "in line 3"),
    ],
)
def test_a_file_that_is_no_log_is_named(tmp_path, content, message):
    write_log(tmp_path, []).write_text(content)
    with pytest.raises(GFTValueError, match=message):
        Run.read("gft", tmp_path)


def test_a_figure_that_is_no_number_is_a_gap(tmp_path):
    write_log(tmp_path, []).write_text("step,train/loss\n1,0.5\n2,many\n3,0.25\n")
    (_, first), (_, second), (_, third) = Run.read("gft", tmp_path).series("train/loss")
    assert (first, third) == (0.5, 0.25)
    assert math.isnan(second)


def test_names_are_given_or_those_of_folders(tmp_path):
    for name in ("sft", "lr=0.1", "gft"):
        write_log(tmp_path / name, [train(1)])
    given = [
        f"{tmp_path}/sft",
        f"{tmp_path}/lr=0.1",
        f"My GFT={tmp_path}/gft",
        f"{tmp_path}/gft/lightning_logs/version_0",
    ]
    assert [run.name for run in read_runs(given)] == ["sft", "lr=0.1", "My GFT", "gft"]


@pytest.mark.parametrize("given", ["", "a=", "={tmp}", " ={tmp}"])
def test_a_run_has_a_name_and_a_folder(tmp_path, given):
    write_log(tmp_path, [train(1)])
    with pytest.raises(GFTValueError, match="expected FOLDER or NAME=FOLDER, got"):
        read_runs([given.replace("{tmp}", str(tmp_path))])


@pytest.mark.parametrize("given", ["x" * 5000, "\0"])
def test_a_folder_that_cannot_be_is_not_there(given):
    with pytest.raises(GFTValueError, match="expected a folder, got"):
        read_runs([given])


def test_a_name_may_be_there_only_once(tmp_path):
    write_log(tmp_path / "a/gft", [train(1)])
    write_log(tmp_path / "b/gft", [train(1)])
    with pytest.raises(GFTValueError, match="got 'gft' twice; name one by NAME=FOLDER"):
        read_runs([f"{tmp_path}/a/gft", f"{tmp_path}/b/gft"])
