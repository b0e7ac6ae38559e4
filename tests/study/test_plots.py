"""Pictures are written by one command, with a line for each thing that they show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from benchmarks.study import plots
from benchmarks.study.__main__ import main
from benchmarks.study.drawing import INK, legend, new_figure, save
from benchmarks.study.looks import GROUPS, OTHERS, WELL_KNOWN
from benchmarks.study.outcome import Outcome
from benchmarks.study.pictured import held_out
from benchmarks.study.plots import curves, forgetting, frontier, stability, variants
from benchmarks.study.reading import read_plan
from tests.study.synthetic import outcome_of, plan_of

METHODS = ("sft", "grpo", "luffy")
RATES = (1e-4, 1e-3)
COLOURS = (WELL_KNOWN["SFT"].colour, WELL_KNOWN["GRPO"].colour, GROUPS.colour)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    plan = plan_of(METHODS, learning_rates=RATES, seeds=(0, 1), highlighted=("sft", "grpo"))
    return outcome_of(plan, tmp_path_factory.mktemp("study") / "study.parquet", failing=("sft", 1e-3, 100))


def panels(figure: Figure) -> Iterator[Axes]:
    assert figure.axes
    yield from figure.axes


def caption(figure: Figure) -> str:
    return " ".join(figure.get_supxlabel().split())


def long_lines(axes: Axes, colour: str) -> list[int]:
    """Return the lengths of lines of a colour that have more than two points."""
    found = [len(line.get_xdata()) for line in axes.get_lines() if line.get_color() == colour]
    return sorted(length for length in found if length > 2)


def test_the_frontier_has_a_line_a_method_and_a_hollow_marker_for_each_other_rate(outcome: Outcome):
    figure = frontier(outcome, "")
    for axes in panels(figure):
        assert [long_lines(axes, colour) for colour in COLOURS] == [[11], [11], [11]]
        hollow = [line for line in axes.get_lines() if line.get_markerfacecolor() == "none"]
        assert [(line.get_color(), line.get_marker()) for line in hollow] == [(COLOURS[0], "s"), (COLOURS[1], "o")]
        (left, right), (lowest, highest) = axes.get_xlim(), axes.get_ylim()
        places = [(float(*line.get_xdata()), float(*line.get_ydata())) for line in hollow]
        assert all(left < x < right and lowest < y < highest for x, y in places)
    assert [axes.get_xscale() for axes in panels(figure)] == ["function", "function", "linear"]
    assert "means over 2 seeds. Hollow: ends at the other learning rates, 2 seeds. Thin lines:" in caption(figure)
    names = [text.get_text() for text in axes.texts]
    assert names[0] == "base"
    assert {*names[1:]} == {"SFT", "GRPO"}


def test_curves_have_a_line_a_method_and_an_interval_beside_for_each_that_is_named(outcome: Outcome):
    figure = curves(outcome, "")
    for axes in panels(figure):
        assert [long_lines(axes, colour) for colour in COLOURS] == [[11], [11], [11]]
        places = [float(*container.lines[0].get_xdata()) for container in axes.containers]
        assert len({*places}) == 2
        assert min(places) > max(max(line.get_xdata()) for line in axes.get_lines() if len(line.get_xdata()) > 2)
    assert len(figure.axes) == 4
    assert "nothing was measured" not in caption(figure)


def test_lines_of_few_validations_show_where_they_were_measured(tmp_path: Path):
    plan = plan_of(("sft", "grpo"), learning_rates=(1e-4,), seeds=(0, 1), evaluations=2)
    figure = curves(outcome_of(plan, tmp_path / "study.parquet"), "")
    for axes in panels(figure):
        drawn = [line for line in axes.get_lines() if len(line.get_xdata()) == 3]
        assert [line.get_marker() for line in drawn] == ["s", "o"]
        assert axes.get_xticks().tolist() == drawn[0].get_xdata().tolist()
    assert "Between markers nothing was measured." in caption(figure)


def test_learning_rates_have_a_point_a_run_and_a_cross_for_each_that_failed(outcome: Outcome):
    figure = stability(outcome, "")
    accuracy, second, norm = panels(figure)
    for axes, points in ((accuracy, 3), (second, 3), (norm, 4)):  # a failed run has a gradient norm, and no end
        crosses = [line for line in axes.get_lines() if line.get_marker() == "x"]
        assert [(line.get_color(), *line.get_xdata()) for line in crosses] == [(COLOURS[0], 1e-3)]
        clouds = [line for line in axes.get_lines() if line.get_linestyle() == "None" and line.get_marker() == "s"]
        assert len(clouds[0].get_xdata()) == points
    assert "A point is a run: 2 seeds at each learning rate" in caption(figure)
    assert "Crosses: runs that failed." in caption(figure)


def test_forgetting_has_a_point_a_validation_of_all_runs(outcome: Outcome):
    for axes in panels(forgetting(outcome, "")):
        clouds = [len(line.get_xdata()) for line in axes.get_lines() if line.get_linestyle() == "None"]
        assert clouds == [50, 60, 60]  # two rates on two seeds, the chosen one on two; one of SFT's has failed
        curves_by_colour = [len(long_lines(axes, colour)) for colour in (*COLOURS, INK)]
        assert curves_by_colour == [2, 2, 2, 1]  # the points and the rising curve of each method, and one for all
        assert "R² of one curve 0." in axes.get_title()


@pytest.mark.slow
def test_ends_have_a_line_a_method_through_all_variants(tmp_path: Path):
    plan = plan_of(METHODS, variants={"few": {}, "many": sized(num_train=1)}, learning_rates=(1e-4,), seeds=(0, 1))
    made = outcome_of(plan, tmp_path / "study.parquet", failing=("sft", 1e-4, 0))
    figure = variants(made)
    assert [axes.get_title() for axes in panels(figure)][1] == "solved in 64 samples, pass@64"
    for axes in panels(figure):
        assert [text.get_text() for text in axes.get_xticklabels()] == ["few", "many"]
        places = [float(*container.lines[0].get_xdata()) for container in axes.containers]
        assert [round(place) for place in places] == [0, 1] * 3
        assert len({*places}) == 6
        assert not [line for line in axes.get_lines() if len(line.get_xdata()) > 1]  # nothing between few and many
    sft = made.final.query("method == 'sft' and split == 'test'").groupby("variant")["mean"].mean()
    drawn = [float(*container.lines[0].get_ydata()) for container in next(panels(figure)).containers[:2]]
    assert drawn == pytest.approx([sft["few"], sft["many"]])
    accuracy, solved, _ = panels(figure)
    dashed = bases_of(accuracy)
    base = made.final.query("split == 'val' and step == 0").drop_duplicates(["variant", "seed"])
    before = base.groupby("variant")["mean"].mean()
    assert dashed == pytest.approx([before["few"], before["many"]])
    assert not bases_of(solved)
    written = [path.name for path in plots.save_all(made, tmp_path)]
    assert written[-1] == "main-variants.png"
    assert {"main-few-curves.png", "main-many-curves.png"} < {*written}


def bases_of(axes: Axes) -> list[float]:
    """Return the heights of a panel's dashed lines."""
    found = [lines for lines in axes.collections if isinstance(lines, LineCollection) and lines.get_zorder() < 2]
    return [float(path.vertices[0, 1]) for lines in found for path in lines.get_paths()]


def test_ends_under_numbered_variants_are_joined_to_scale(tmp_path: Path):
    numbers = {"32 prompts": {}, "512 prompts": sized(num_train=1)}
    plan = plan_of(("sft", "grpo"), variants=numbers, learning_rates=(1e-4,), seeds=(0, 1), base=sized(num_val=128))
    figure = variants(outcome_of(plan, tmp_path / "study.parquet", failing=None))
    for axes in panels(figure):
        assert axes.get_xticks().tolist() == [5, 9]
        assert [text.get_text() for text in axes.get_xticklabels()] == ["32", "512"]
        assert axes.get_xlabel() == "prompts, log axis"
        joined = [line for line in axes.get_lines() if line.get_color() == COLOURS[0] and len(line.get_xdata()) == 2]
        assert [line.get_xdata().tolist() for line in joined] == [pytest.approx([5, 9], abs=0.05)]
    assert "Measured on 128 held-out prompts, 64 samples each." in caption(figure)


def sized(**sizes: int) -> dict[str, Any]:
    return {"trainer": {"accelerator": "cpu"}, "data": {"init_args": sizes}}


def test_captions_say_how_much_was_measured(tmp_path: Path):
    plan = plan_of(("sft", "grpo"), learning_rates=(1e-4,), seeds=(0,), base=sized(val_size=32, num_second_skill=64))
    made = outcome_of(plan, tmp_path / "study.parquet", failing=None)
    assert held_out(made, "") == "Measured on 32 held-out prompts, 8 samples each; the second skill on 64."
    assert "means over one seed." in caption(frontier(made, ""))
    assert "Hollow" not in caption(frontier(made, ""))
    assert "Thin" not in caption(curves(made, ""))  # all methods have names


def test_pictures_leave_out_a_second_skill_that_there_is_not(outcome: Outcome, monkeypatch: pytest.MonkeyPatch):
    without = {
        name: getattr(outcome, name).drop(columns=[*outcome.plan.beside.values()]) for name in ("tuning", "final")
    }
    drawn: list[Figure] = []
    monkeypatch.setattr(plots, "save", lambda figure, path: drawn.append(figure) or path)
    written = plots.save_all(replace(outcome, **without), Path())
    assert [path.name for path in written] == ["main-frontier.png", "main-curves.png", "main-stability.png"]
    assert [len(figure.axes) for figure in drawn] == [2, 4, 2]


def test_curves_without_a_divergence_keep_all_else(outcome: Outcome):
    made = replace(outcome, **{name: getattr(outcome, name).drop(columns="kl_start") for name in ("tuning", "final")})
    made = replace(made, plan=replace(made.plan, beside={}))
    titles = [axes.get_title() for axes in panels(curves(made, ""))]
    assert titles == ["accuracy of samples, mean@8", "greedy accuracy", "entropy of a token, nats"]


def test_all_that_is_measured_beside_has_panels(outcome: Outcome):
    beside = {"second skill": "second_skill/greedy_accuracy", "many": "pass@8", "none": "products/mean"}
    made = replace(outcome, plan=replace(outcome.plan, beside=beside))
    titles = {draw: [axes.get_title() for axes in panels(draw(made, ""))] for draw in (frontier, curves, forgetting)}
    assert titles[frontier][2:] == ["second skill lost", "many lost"]
    assert titles[curves][2:] == [
        *("second skill, greedy accuracy", "many, pass@8", "entropy of a token, nats", "KL(base‖policy), nats"),
    ]
    assert [title.partition("\n")[0] for title in titles[forgetting]] == ["KL(policy‖base)", "KL(base‖policy)"] * 2


def test_methods_that_are_not_highlighted_share_a_name():
    figure, _ = new_figure(1, 1, 4, 3)
    legend(figure, [OTHERS, WELL_KNOWN["GRPO"], OTHERS, WELL_KNOWN["SFT"]])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["SFT", "GRPO", "others"]


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
