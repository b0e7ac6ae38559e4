"""Runs in processes: kept as they end, never done again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from multiprocessing import connection
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from benchmarks.study.__main__ import main, wanted
from benchmarks.study.choice import choose
from benchmarks.study.plan import Plan, PlanError, Run
from benchmarks.study.pool import Pool
from benchmarks.study.results import Results, written_by_one
from benchmarks.study.worker import work
from tests.study.test_plan import written
from tests.study.workers import (
    die_at_a_rate_of_a_tenth,
    die_at_once,
    die_while_writing,
    fail_at_once,
    hang,
    pretend,
)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return written(tmp_path)


def runs(plan: Plan, results: Results) -> Iterator[Run]:
    return wanted([plan], results)


@pytest.mark.slow
def test_each_run_is_done_once_and_the_best_rate_is_taken(plan: Plan, tmp_path: Path):
    path = tmp_path / "study.parquet"
    results = Results(path)
    assert Pool(results, tmp_path / "runs", workers=2, work=pretend).train(lambda: runs(plan, results))
    rows = pd.read_parquet(path)
    assert rows["run"].nunique() == 4 + 4
    assert len(rows) == 3 * 8
    assert set(rows[rows["role"] == "final"]["learning_rate"]) == {0.01}
    assert [*(tmp_path / "runs").iterdir()] == []
    assert {"commit", "hardware", "versions", "settings"} <= {*rows}
    assert json.loads(rows["settings"][0])[-1]["seed_everything"] == 100

    again = Results(path)
    assert Pool(again, tmp_path / "runs", work=fail_at_once).train(lambda: runs(plan, again))  # none begins
    more = written(tmp_path, seeds=[0, 1, 2])
    assert Pool(again, tmp_path / "runs", work=pretend).train(lambda: runs(more, again))
    assert pd.read_parquet(path)["run"].nunique() == 10


def test_no_run_begins_when_the_time_is_over(plan: Plan, tmp_path: Path):
    results = Results(tmp_path / "study.parquet")
    assert not Pool(results, tmp_path / "runs", minutes=-1.0, work=pretend).train(lambda: runs(plan, results))
    assert results.rows.empty


@pytest.mark.slow
def test_a_run_that_is_killed_is_a_row_and_its_rate_is_not_chosen(plan: Plan, tmp_path: Path):
    results = Results(tmp_path / "study.parquet")
    assert Pool(results, tmp_path / "runs", work=die_at_a_rate_of_a_tenth).train(lambda: runs(plan, results))
    failed = results.rows[results.rows["status"] == "failed"]
    assert set(failed["learning_rate"]) == {0.1}
    assert set(failed["error"]) == {"ended with exit code -9"}
    assert len(failed) == 2 * 3  # what it had measured stays
    assert set(results.rows[results.rows["role"] == "final"]["learning_rate"]) == {0.01}


@pytest.mark.slow
def test_a_run_that_hangs_is_ended(plan: Plan, tmp_path: Path, monkeypatch):
    often = SimpleNamespace(wait=lambda sentinels, timeout: connection.wait(sentinels, timeout=0.1))
    monkeypatch.setattr("benchmarks.study.pool.connection", often)
    results = Results(tmp_path / "study.parquet")
    first = next(runs(plan, results))
    Pool(results, tmp_path / "runs", limit=0.02, work=hang).train(lambda: iter([first]))
    assert results.rows["error"].tolist() == ["took more than 0.02 minutes"]


@pytest.mark.slow
def test_wrong_settings_end_the_study_in_one_line(plan: Plan, tmp_path: Path):
    results = Results(tmp_path / "study.parquet")
    with pytest.raises(
        PlanError, match=r"plan gft lr 0.1 seed 100: expected settings of a run, got ValueError: no such"
    ):
        Pool(results, tmp_path / "runs", work=fail_at_once).train(lambda: runs(plan, results))
    assert results.rows.empty


def test_two_studies_do_not_write_one_file(plan: Plan, tmp_path: Path):
    path = tmp_path / "study.parquet"
    with (
        written_by_one(path),
        pytest.raises(SystemExit, match=r"`--results`: expected a file of this study alone, got"),
    ):
        main(["run", str(tmp_path / "plan.yaml"), "--results", str(path), "--minutes=-1"])
    main(["run", str(tmp_path / "plan.yaml"), "--results", str(path), "--minutes=-1"])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["run", "--workers=0"], r"`--workers`: expected a whole number of at least 1, got 0"),
        (["run", "--threads=-1"], r"`--threads`: expected a whole number of at least 1, got -1"),
        (["status", "--results=plan.yaml"], r"`--results`: expected a Parquet file, got plan.yaml \(.*; name another"),
        (["status", "--results=other.parquet"], r"`--results`: expected rows of a study, got other.parquet without"),
        (["tables", "--docs=none.md"], r"`--docs`: expected a page with marked places, got none.md"),
        (["plots", "--results=none.parquet"], r"`none.parquet`: expected runs of plan, got none"),
    ],
)
def test_wrong_arguments_are_one_line(plan: Plan, tmp_path: Path, monkeypatch, args: list[str], message: str):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"x": [1]}).to_parquet("other.parquet")
    with pytest.raises(SystemExit, match=message) as error:
        main([args[0], "./plan.yaml", *args[1:]])
    assert "\n" not in str(error.value)


OWN = """
import torch
from lightning_gft.losses import SFTLoss

class HalfLoss(SFTLoss):
    def coefficients(self, tokens):
        return super().coefficients(tokens) / 2

class BrokenLoss(SFTLoss):
    def coefficients(self, tokens):
        raise RuntimeError("broken at once")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("work", "steps"), [(die_at_once, [0]), (die_while_writing, [0, 4])])
def test_a_run_that_is_killed_early_or_while_it_writes_is_a_row(plan: Plan, tmp_path: Path, work, steps: list[int]):
    results = Results(tmp_path / "study.parquet")
    first = next(runs(plan, results))
    assert Pool(results, tmp_path / "runs", work=work).train(lambda: iter([first]))
    assert results.rows["step"].tolist() == steps
    assert set(results.rows["error"]) == {"ended with exit code -9"}
    assert first in Results(tmp_path / "study.parquet")


def test_rates_are_taken_from_another_plan(plan: Plan, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("benchmarks.study.reading.PLANS", tmp_path)
    variants = {"few": {"data": {"init_args": {"num_train": 32}}}, "": {}}
    follows = written(tmp_path, name="follows", choice_of="plan", tuning_seeds=[], variants=variants)
    results = Results(tmp_path / "study.parquet")
    Pool(results, tmp_path / "runs", workers=2, work=pretend).train(plan.tuning)
    assert choose(follows, results) == {(variant, method): 0.01 for variant in ("few", "") for method in ("gft", "sft")}
    shared = {run.fingerprint for run in plan.final(choose(plan, results))}
    assert shared < {run.fingerprint for run in follows.final(choose(follows, results))}


@pytest.mark.slow
def test_an_objective_of_the_users_own_takes_part_and_one_that_breaks_is_a_row(tmp_path: Path, monkeypatch):
    (tmp_path / "my_objective.py").write_text(OWN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.syspath_prepend(str(tmp_path))
    small = {"": {"data": {"init_args": {"num_train": 16, "num_val": 4, "num_second_skill": 4}}}}
    methods = {
        name: {"responses": 1, "layers": ["configs/overlays/sft.yaml", {"model": {"loss": f"my_objective.{loss}"}}]}
        for name, loss in (("half", "HalfLoss"), ("broken", "BrokenLoss"))
    }
    plan = written(tmp_path, variants=small, methods=methods, learning_rates=[1e-4], seeds=[0], final_samples=4)
    results = Results(tmp_path / "study.parquet")
    assert Pool(results, tmp_path / "runs", workers=2, work=work).train(lambda: runs(plan, results))
    assert set(results.rows["role"]) == {"final"}  # a single learning rate
    half, broken = (results.rows[results.rows["method"] == name] for name in ("half", "broken"))
    assert half["split"].tolist() == ["val", "val", "val", "test"]
    assert half["sequences"].tolist() == [0, 64, 128, 128]
    assert (half[half["step"] > 0]["seconds"] > 0).all()
    assert broken["error"].tolist() == ["RuntimeError: broken at once"]  # after the evaluation before training
    assert broken["step"].tolist() == [0]


@pytest.mark.slow
def test_the_reduced_study_runs_from_its_command(tmp_path: Path, capsys):
    main(["run", "reduced", "--results", str(tmp_path / "study.parquet"), "--folder", str(tmp_path / "runs")])
    assert "all runs have ended" in capsys.readouterr().out
    rows = pd.read_parquet(tmp_path / "study.parquet")
    assert set(rows["status"]) == {"finished"}
    test = rows[rows["split"] == "test"]
    assert len(test) == 8
    assert test["pass@16"].between(0, 1).all()
    assert (test["second_skill/greedy_accuracy"] <= 1).all()
    base = rows[(rows["step"] == 0) & (rows["seed"] == 0)]
    assert base["mean"].nunique() == 1  # the same policy and prompts, whatever the method
