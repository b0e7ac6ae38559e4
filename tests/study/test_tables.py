"""Tables have the figures that one computes by hand, and count what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks.study.markdown import Table, fill, rate
from benchmarks.study.outcome import Outcome, reached, read
from benchmarks.study.plan import PlanError
from benchmarks.study.plateau import find_plateau
from benchmarks.study.results import Results
from benchmarks.study.stability import assess
from benchmarks.study.tables import all_tables
from tests.study.synthetic import outcome_of, plan_of

PLAN = plan_of(("grpo", "gft"), seeds=(0, 1, 2), tuning_seeds=(100,), learning_rates=(1e-4, 1e-3), updates=40)


def run(method: str, seed: int, curve: list[float], status: str = "finished", **given: Any) -> list[dict[str, Any]]:
    """Return the rows of a run: validations every ten updates, and a test with the last one's figures."""
    about = {"run": f"{method} {seed} {given}", "variant": "", "method": method, "seed": seed, "status": status}
    about |= {"learning_rate": 1e-4, "pass@8": 0.5, "second_skill/greedy_accuracy": 0.9, "grad_norm_max": 0.1, **given}
    places = [{"step": 10 * step, "sequences": 1280 * step, "processor_seconds": 2.0 * step} for step in range(9)]
    rows = [{**about, "split": "val", **place, "mean": mean} for place, mean in zip(places, curve, strict=False)]
    test = [{**rows[-1], "split": "test", "pass@64": 0.99}] if status == "finished" else []
    return [*rows, *test]


def outcome(*runs: list[dict[str, Any]], tuning: tuple[list[dict[str, Any]], ...] = ()) -> Outcome:
    frames = [pd.DataFrame([row for rows in part for row in rows]) for part in (tuning, runs)]
    return Outcome(PLAN, {("", "grpo"): 1e-4, ("", "gft"): 3e-5}, *frames, timed=frames[-1])


@pytest.fixture(scope="module")
def tables() -> Mapping[str, Table]:
    runs = [run("grpo", seed, [0.4, 0.5, 0.6, 0.7, 0.7 + seed / 100]) for seed in (0, 1, 2)]
    runs += [run("gft", seed, [0.4, 0.4, 0.5, 0.5, 0.6 + seed / 50], kl_start=0.25) for seed in (0, 1)]
    return all_tables(outcome(*runs, run("gft", 2, [0.4, 0.5], "failed")))


def cells(table: Table, method: str) -> dict[str, str]:
    return next(dict(zip(table.columns, row, strict=True)) for row in table.rows if row[0] == method)


def test_final_figures_are_means_over_the_runs_that_finished(tables: Mapping[str, Table]):
    grpo, gft = (cells(tables["final"], name) for name in ("GRPO", "GFT"))
    assert grpo["mean@64"] == "0.710 ±0.025"  # 0.01 * 4.3027 / sqrt(3)
    assert gft["mean@64"] == "0.610 ±0.127"  # 0.01 * 12.706
    assert (grpo["learning rate"], gft["learning rate"]) == ("1e-4", "3e-5")
    assert (grpo["KL(base‖policy)"], gft["KL(base‖policy)"]) == ("-", "0.250 ±0.000")


@pytest.mark.parametrize("name", ["final", "sequences", "seconds", "plateau"])
def test_a_run_that_failed_is_counted(tables: Mapping[str, Table], name: str):
    counts = [
        tuple(cells(tables[name], method)[column] for column in ("finished", "failed")) for method in ("GRPO", "GFT")
    ]
    assert counts == [("3 of 3", "0"), ("2 of 3", "1")]


def test_the_bases_row_is_of_the_validation_before_training(tables: Mapping[str, Table]):
    assert tables["final"].rows[0][:4] == ["base", "-", "-", "0.400 ±0.000"]


def test_differences_are_paired_and_none_inside_their_interval(tables: Mapping[str, Table]):
    table = tables["differences"]
    assert [row[0] for row in table.rows] == ["GFT"]
    gft = cells(table, "GFT")
    assert gft["mean@64"] == "-0.095 ±0.064, p = 0.033"
    assert gft["second skill"] == "none (+0.000 ±0.000, p = 1.000)"
    assert (gft["seeds of both"], gft["failed"]) == ("2", "1")


def test_methods_are_compared_where_they_are_equally_accurate():
    def forgetting(method: str, seed: int, curve: list[float], skills: list[float]) -> list[dict[str, Any]]:
        rows = run(method, seed, curve)
        return [{**row, "second_skill/greedy_accuracy": skill} for row, skill in zip(rows, skills, strict=False)]

    runs = [forgetting("grpo", seed, [0.4, 0.6, 0.6], [0.9, 0.8, 0.7]) for seed in (0, 1)]
    # as accurate as that half-way between the second validation and the third
    runs += [forgetting("gft", seed, [0.4, 0.4, 0.8], [0.9, 0.5, 0.3 - seed / 10]) for seed in (0, 1)]
    table = all_tables(outcome(*runs))["matched"]
    gft = cells(table, "GFT")
    assert gft["mean@8"] == "0.600 ±0.000"
    assert gft["second skill"] == "-0.425 ±0.318, p = 0.037"  # 0.4 and 0.35 less than 0.8
    assert gft["sequences"] == "+640 ±0, p < 0.001"
    assert (gft["KL(base‖policy)"], gft["early"], gft["seeds of both"]) == ("-", "0", "2")
    assert [row[0] for row in table.rows] == ["GFT"]


def test_a_comparison_before_a_first_validation_is_counted():
    runs = [
        *run("grpo", 0, [0.4, 0.6]),
        *run("grpo", 1, [0.4, 0.8]),
        *run("gft", 0, [0.4, 0.8]),
        *run("gft", 1, [0.4, 0.8]),
    ]
    gft = cells(all_tables(outcome(runs))["matched"], "GFT")
    assert (gft["mean@8"], gft["early"], gft["seeds of both"]) == ("0.700 ±1.271", "1", "2")


def test_a_method_that_never_rises_is_compared_before_training():
    runs = [
        run("grpo", 0, [0.4, 0.6]),
        run("gft", 0, [0.4, 0.3]),
        run("grpo", 1, [0.4, 0.6]),
        run("gft", 1, [0.4, 0.3]),
    ]
    gft = cells(all_tables(outcome(*runs))["matched"], "GFT")
    assert (gft["mean@8"], gft["sequences"]) == ("0.400 ±0.000", "none (+0 ±0, p = 1.000)")


def test_budgets_are_read_between_validations():
    rows = pd.DataFrame([*run("gft", 0, [0.4, 0.6, 0.7]), *run("gft", 1, [0.4, 0.6, 0.7, 0.9])])
    assert reached(rows, "mean", 640).mean == pytest.approx(0.5)
    late = reached(rows, "mean", 3840)
    assert (late.mean, late.count) == (pytest.approx(0.8), 2)  # 0.7 is kept for one distance, 0.9 is there
    assert reached(rows, "mean", 5120).count == 1


def slower(rows: list[dict[str, Any]], times: float) -> list[dict[str, Any]]:
    return [{**row, "processor_seconds": times * row["processor_seconds"]} for row in rows]


def test_methods_are_compared_after_equally_long_training():
    curve = [0.4, 0.5, 0.6, 0.7, 0.7]
    table = all_tables(outcome(run("grpo", 0, curve), slower(run("gft", 0, curve), 2)))["seconds"]
    assert table.columns[1:5] == ["2 s", "4 s", "8 s", "a whole run, s"]  # shares of the faster one's 8 s
    assert [cells(table, "GRPO")[column] for column in table.columns[1:5]] == ["0.500", "0.600", "0.700", "8"]
    assert [cells(table, "GFT")[column] for column in table.columns[1:5]] == ["0.450", "0.500", "0.600", "16"]


def test_the_pace_of_a_method_may_change():
    curve = [0.4, 0.5, 0.6, 0.7, 0.7]
    slowing = [{**row, "processor_seconds": row["step"] ** 2 / 100} for row in run("gft", 0, curve)]
    table = all_tables(outcome(run("grpo", 0, curve), slowing))["seconds"]
    assert [cells(table, "GFT")[column] for column in table.columns[1:5]] == ["0.533", "0.600", "0.680", "16"]


def test_seconds_may_come_from_other_runs_than_the_figures():
    made = outcome(*(run(method, 0, [0.4, 0.5, 0.6, 0.7, 0.7]) for method in ("grpo", "gft")))
    timed = pd.DataFrame(slower(run("grpo", 5, [0.1] * 5), 3))
    table = all_tables(replace(made, plan=replace(PLAN, times_of="clock"), timed=timed))["seconds"]
    assert "`plans/clock.yaml`" in table.caption
    assert [cells(table, "GRPO")[column] for column in table.columns[1:5]] == ["0.500", "0.600", "0.700", "24"]
    assert [cells(table, "GFT")[column] for column in table.columns[1:5]] == ["-"] * 4  # the other plan has none


@pytest.mark.parametrize(
    ("curve", "height", "step", "trend"),
    [
        ([0.4, 0.5, 0.6, 0.7, 0.8], 0.7, 40, "rises"),
        ([0.4, 0.8, 0.8, 0.8, 0.5, 0.4, 0.3], 0.8, 30, "falls"),
        ([0.4, 0.7, 0.7, 0.7, 0.7, 0.7], 0.7, 30, "shows no rise"),
    ],
)
def test_a_plateau_is_the_highest_stretch(curve: list[float], height: float, step: int, trend: str):
    rows = pd.DataFrame([row for seed in (0, 1) for row in run("gft", seed, curve) if row["split"] == "val"])
    found = find_plateau(rows)
    assert found is not None
    assert found.height.mean == pytest.approx(height)
    assert (found.sequences, found.trend) == (step * 128, trend)


def test_what_rises_on_some_seeds_alone_shows_no_rise():
    rising, falling = run("gft", 0, [0.4, 0.5, 0.6, 0.7]), run("gft", 1, [0.7, 0.6, 0.5, 0.4])
    found = find_plateau(pd.DataFrame([*rising[:-1], *falling[:-1]]))
    assert found is not None
    assert found.trend == "shows no rise"
    assert find_plateau(pd.DataFrame(run("gft", 0, [0.4, 0.5, 0.6])[:-1])) is None


def test_the_basin_is_unbroken_and_failures_are_no_part_of_it():
    ends = {1e-5: 0.78, 3e-5: 0.5, 1e-4: 0.77, 3e-4: 0.8, 1e-3: 0.79, 3e-3: 0.3}
    runs = [run("gft", 100, [0.4, end], learning_rate=lr) for lr, end in ends.items()]
    runs += [run("gft", 101, [0.4, 0.1], "failed", learning_rate=1e-3, grad_norm_max=70.0)]
    found = assess(pd.DataFrame([row for rows in runs for row in rows]), [*ends])
    assert (found.best, found.basin, found.at_edge) == (0.8, (1e-4, 3e-4), False)
    assert (found.ended, found.failed, found.collapsed) == (7, 1, 1)
    assert found.grad_norm == 70


def test_a_table_of_learning_rates_says_where_its_range_ends():
    tuning = tuple(run(name, 100, [0.4, end], learning_rate=lr, weight_max=1234.5) for name, lr, end in [
        ("grpo", 1e-4, 0.8), ("grpo", 1e-3, 0.79), ("gft", 1e-4, 0.7)])  # fmt: skip
    made = all_tables(outcome(run("grpo", 0, [0.4, 0.5]), tuning=tuning))["stability"]
    grpo, gft = cells(made, "GRPO"), cells(made, "GFT")
    assert (grpo["rates that work"], grpo["largest weight"]) == ("1e-4 to 1e-3 (10x or more)", "1,234.5")
    assert (gft["rates that work"], gft["ended"]) == ("1e-4 to 1e-4 (1x or more)", "1 of 2")


def test_methods_without_runs_have_a_row():
    made = all_tables(outcome(run("grpo", 0, [0.4, 0.5])))
    assert "stability" not in made
    assert cells(made["final"], "GFT")["finished"] == "0 of 3"
    assert cells(made["plateau"], "GRPO")["highest"] == "-"


def test_all_tables_are_made_from_a_file_of_runs(tmp_path: Path):
    plan = plan_of(("sft", "grpo"), variants={"easy": {"x": 1}, "hard": {"x": 2}}, learning_rates=(1e-4, 1e-3))
    made = all_tables(outcome_of(plan, tmp_path / "study.parquet", failing=("sft", 0, 3)))
    assert [row[0] for row in made["final"].rows[2:]] == ["easy, SFT", "easy, GRPO", "hard, SFT", "hard, GRPO"]
    assert [row[-1] for row in made["final"].rows[2:]] == ["1", "0", "1", "0"]
    assert [row[-2] for row in made["differences"].rows] == ["4", "4"]


def test_a_plan_without_runs_is_refused(tmp_path: Path):
    with pytest.raises(PlanError, match="expected runs of main, got none"):
        read(PLAN, Results(tmp_path / "none.parquet"))


@pytest.mark.parametrize(("value", "text"), [(3e-5, "3e-5"), (1e-4, "1e-4"), (0.00025, "2.5e-4"), (1.0, "1e0")])
def test_learning_rates_are_short(value: float, text: str):
    assert rate(value) == text


PAGE = """# Page
<!-- study: main -->
<!-- end -->
between
<!-- study: main two -->
old
<!-- end -->
<!-- study: other -->
kept
<!-- end -->
"""
MADE = {"one": Table("First.", ["a"], [["1"]]), "two": Table("Second.", ["b"], [["2"]])}


def test_marked_places_are_filled_and_filling_again_changes_nothing():
    filled = fill(PAGE, "main", MADE)
    first, second = MADE["one"].text(), MADE["two"].text()
    assert first == "First.\n\n| a |\n| --- |\n| 1 |"
    assert filled == PAGE.replace("main -->\n", f"main -->\n{first}\n\n{second}\n").replace("old", second)
    assert fill(filled, "main", MADE) == filled


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("nothing", "expected a line `<!-- study: main -->`"),
        ("<!-- study: main -->\n<!-- study: other -->\n<!-- end -->", "expected `<!-- end -->` after"),
        ("<!-- study: main three -->\n<!-- end -->", "expected a table among one, two, got three"),
    ],
)
def test_places_that_cannot_be_filled_are_named(page: str, message: str):
    with pytest.raises(PlanError, match=message):
        fill(page, "main", MADE)


def test_the_clock_is_the_processors_on_a_cpu_alone():
    made = outcome(run("grpo", 0, [0.4, 0.5]))
    assert made.clock == "processor_seconds"
    on_gpu = replace(made, plan=replace(PLAN, base={"trainer": {"accelerator": "cuda"}}))
    assert on_gpu.clock == "seconds"
    variant = replace(made, plan=replace(PLAN, variants={"": {"trainer": {"accelerator": "auto"}}}))
    assert variant.clock == "seconds"
