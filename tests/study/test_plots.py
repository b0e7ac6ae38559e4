"""Pictures are written by one command, with a line for each thing that they show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.study import plots
from benchmarks.study.__main__ import main
from benchmarks.study.drawing import COLOURS, GREY, Look, legend, new_figure, save
from benchmarks.study.outcome import Outcome
from benchmarks.study.plots import curves, forgetting, frontier, stability, variants
from benchmarks.study.reading import read_plan
from tests.study.synthetic import outcome_of, plan_of

METHODS = ("sft", "grpo", "luffy")
RATES = (1e-4, 1e-3)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    plan = plan_of(METHODS, learning_rates=RATES, seeds=(0, 1), highlighted=("sft", "grpo"))
    return outcome_of(plan, tmp_path_factory.mktemp("study") / "study.parquet", failing=("sft", 1e-3, 100))


def panels(figure: Figure) -> Iterator[Axes]:
    assert figure.axes
    yield from figure.axes


def long_lines(axes: Axes, colour: str) -> list[int]:
    """Return the lengths of lines of a colour that have more than two points."""
    found = [len(line.get_xdata()) for line in axes.get_lines() if line.get_color() == colour]
    return sorted(length for length in found if length > 2)


def test_the_frontier_has_a_line_a_method_and_a_thin_one_for_each_other_rate(outcome: Outcome):
    for axes in panels(frontier(outcome, "")):
        assert [long_lines(axes, colour) for colour in (*COLOURS[:2], GREY)] == [[11, 11], [11, 11], [11]]
        assert sum(line.get_linewidth() < 1 for line in axes.get_lines() if len(line.get_xdata()) > 2) == 2
    names = [text.get_text() for text in axes.texts]
    assert names[0] == "base"
    assert {*names[1:]} == {"SFT", "GRPO"}


def test_curves_have_a_line_a_method_and_a_band_for_each_that_is_named(outcome: Outcome):
    figure = curves(outcome, "")
    for axes in panels(figure):
        assert [long_lines(axes, colour) for colour in (*COLOURS[:2], GREY)] == [[11], [11], [11]]
        assert len(axes.collections) == 2
    assert len(figure.axes) == 4


def test_learning_rates_have_a_point_a_run_and_a_cross_for_each_that_failed(outcome: Outcome):
    accuracy, second, norm = panels(stability(outcome, ""))
    for axes, points in ((accuracy, 3), (second, 3), (norm, 4)):  # a failed run has a gradient norm, and no end
        crosses = [line for line in axes.get_lines() if line.get_marker() == "x"]
        assert [(line.get_color(), *line.get_xdata()) for line in crosses] == [(COLOURS[0], 1e-3)]
        clouds = [line for line in axes.get_lines() if line.get_linestyle() == "None" and line.get_marker() == "o"]
        assert len(clouds[0].get_xdata()) == points


def test_forgetting_has_a_point_a_validation_of_all_runs(outcome: Outcome):
    for axes in panels(forgetting(outcome, "")):
        clouds = [len(line.get_xdata()) for line in axes.get_lines() if line.get_linestyle() == "None"]
        assert clouds == [50, 60, 60]  # two rates on two seeds, the chosen one on two; one of SFT's has failed
        assert "R² of one curve 0." in axes.get_title()


def test_ends_have_a_line_a_method_through_all_variants(tmp_path: Path):
    plan = plan_of(METHODS, variants={"few": {}, "many": {"data": 1}}, learning_rates=(1e-4,), seeds=(0, 1))
    made = outcome_of(plan, tmp_path / "study.parquet", failing=("sft", 1e-4, 0))
    figure = variants(made)
    assert [axes.get_title() for axes in panels(figure)][1] == "solved in 64 samples, pass@64"
    for axes in panels(figure):
        assert [container.lines[0].get_xdata().tolist() for container in axes.containers] == [["few", "many"]] * 3
    sft = made.final.query("method == 'sft' and split == 'test'").groupby("variant")["mean"].mean()
    drawn = next(panels(figure)).containers[0].lines[0].get_ydata()
    assert drawn.tolist() == pytest.approx([sft["few"], sft["many"]])
    accuracy, solved, _ = panels(figure)
    dashed = [line.get_ydata().tolist() for line in accuracy.get_lines() if line.get_linestyle() == "--"]
    base = made.final.query("split == 'val' and step == 0").drop_duplicates(["variant", "seed"])
    before = base.groupby("variant")["mean"].mean()
    assert dashed == [pytest.approx([before["few"], before["many"]])]
    assert not [line for line in solved.get_lines() if line.get_linestyle() == "--" and any(line.get_ydata() > 0)]
    written = [path.name for path in plots.save_all(made, tmp_path)]
    assert written[-1] == "main-variants.png"
    assert {"main-few-curves.png", "main-many-curves.png"} < {*written}


def test_pictures_leave_out_a_second_skill_that_there_is_not(outcome: Outcome, monkeypatch: pytest.MonkeyPatch):
    without = {
        name: getattr(outcome, name).drop(columns=[*outcome.plan.beside.values()]) for name in ("tuning", "final")
    }
    drawn: list[Figure] = []
    monkeypatch.setattr(plots, "save", lambda figure, path: drawn.append(figure) or path)
    written = plots.save_all(replace(outcome, **without), Path())
    assert [path.name for path in written] == ["main-frontier.png", "main-curves.png", "main-stability.png"]
    assert [len(figure.axes) for figure in drawn] == [2, 3, 2]


def test_all_that_is_measured_beside_has_panels(outcome: Outcome):
    beside = {"second skill": "second_skill/greedy_accuracy", "many": "pass@8", "none": "products/mean"}
    made = replace(outcome, plan=replace(outcome.plan, beside=beside))
    titles = {draw: [axes.get_title() for axes in panels(draw(made, ""))] for draw in (frontier, curves, forgetting)}
    assert titles[frontier][2:] == ["second skill lost", "many lost"]
    assert titles[curves][2:] == ["second skill", "many", "entropy of a token"]
    assert [title.partition("\n")[0] for title in titles[forgetting]] == ["KL(policy‖base)", "KL(base‖policy)"] * 2


def test_methods_that_are_not_highlighted_share_a_name():
    figure, _ = new_figure(1, 1, 4, 3)
    legend(figure, {"a": Look("A", COLOURS[0], "o"), "b": Look(), "c": Look()})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["A", "others"]


@pytest.mark.parametrize(
    ("rates", "pictures"), [([1e-4, 1e-3], {"stability"}), pytest.param([1e-4], set(), marks=pytest.mark.slow)]
)
def test_commands_write_tables_and_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rates: list[float], pictures: set[str]
):
    page, results, given = (tmp_path / name for name in ("page.md", "study.parquet", "small.yaml"))
    settings = {"sequences": 128, "updates": 100, "evaluations": 4, "learning_rates": rates, "tuning_seeds": [100]}
    methods = {name: {"responses": 8, "layers": [{"name": name}]} for name in ("sft", "grpo")}
    base = {"trainer": {"accelerator": "cpu"}}
    given.write_text(yaml.safe_dump({**settings, "base": base, "seeds": [0, 1], "methods": methods}, sort_keys=False))
    outcome_of(read_plan(str(given)), results)
    page.write_text("<!-- study: small -->\n<!-- end -->\n")

    main(["tables", str(given), "--results", str(results), "--docs", str(page)])
    assert "**small, final.** Test at the end" in capsys.readouterr().out
    filled = page.read_text()
    assert filled.count("| sft | ") == 4 + len(pictures)  # in all but the differences, as it is the reference
    main(["tables", str(given), "--results", str(results), "--docs", str(page)])
    assert page.read_text() == filled

    main(["plots", str(given), "--results", str(results), "--output", str(tmp_path / "pictures")])
    written = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert written == {f"small-{name}.png" for name in {"frontier", "curves", "forgetting"} | pictures}


def test_the_same_picture_is_the_same_file(tmp_path: Path):
    first, second = (save(new_figure(1, 1, 2, 2)[0], tmp_path / name).read_bytes() for name in ("a.png", "b.png"))
    assert first == second
