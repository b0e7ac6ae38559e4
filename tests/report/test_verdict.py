"""What is said of runs: that it follows the figures, and speaks of a change only where there is one."""

from __future__ import annotations

import re

import pytest

from lightning_gft.report.runs import Run
from lightning_gft.report.verdict import verdict_section
from tests.report.logged import train, val, write_log


def run(tmp_path, name: str, *rows) -> Run:
    write_log(tmp_path / name, rows)
    return Run.read(name, tmp_path / name)


def told(*runs: Run) -> list[str]:
    """Return the sentences about runs, without markup."""
    sentences = re.findall(r"<li[^>]*>(.*?)</li>", verdict_section(runs))
    return [re.sub(r"<[^>]*>", "", sentence) for sentence in sentences]


def cells(*runs: Run) -> dict[str, list[str]]:
    """Return the rows of the table, without markup, by their headings."""
    rows = re.findall(r"<tr>(.*?)</tr>", verdict_section(runs).partition("<tbody>")[2])
    split = [
        [re.sub(r"<[^>]*>", " ", cell).split() for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in rows
    ]
    return {heading[0]: [" ".join(cell) for cell in of] for heading, *of in split}


STDERR = {"greedy_accuracy_stderr": 0.02}


def test_a_run_is_compared_with_its_own_start(tmp_path):
    start = val(0, 0.5, entropy=0.3, **STDERR)
    [sentence] = told(run(tmp_path, "gft", start, train(1), val(1, 0.75, entropy=0.1, **STDERR)))
    assert sentence == (
        "gft raised greedy accuracy from 50% to 75%; its samples are less varied (entropy 0.300 → 0.100)."
    )


@pytest.mark.parametrize(
    ("greedy", "said"),
    [
        (0.75, "gft raised greedy accuracy from 50% to 75%."),
        (0.25, "gft lowered greedy accuracy from 50% to 25%."),
        (0.54, "gft left greedy accuracy about where it was (0.500 → 0.540)."),
    ],
)
def test_only_a_change_beyond_chance_is_one(tmp_path, greedy, said):
    rows = [val(0, 0.5, **STDERR), train(1), val(1, greedy, **STDERR)]
    assert told(run(tmp_path, "gft", *rows)) == [said]


def test_a_run_without_a_start_is_compared_with_the_one_that_was_only_measured(tmp_path):
    base = run(tmp_path, "base", val(0, 0.5, **{"mean@8": 0.25, "pass@8": 0.75}))
    gft = run(tmp_path, "gft", train(1), val(1, 0.75, **{"mean@8": 0.5, "pass@8": 0.5}))
    assert told(base, gft) == [
        "base answers 50% of prompts correctly (greedy), solves 75% with at least one of 8 samples.",
        "gft raised greedy accuracy from 50% to 75%; a sample is right more often (mean@8 0.250 → 0.500); "
        "8 samples solve fewer prompts (pass@8 0.750 → 0.500).",
    ]


def test_two_trained_runs_are_compared_without_saying_that_one_became_the_other(tmp_path):
    other = "second_skill/greedy_accuracy"
    sft = run(tmp_path, "sft", train(1), val(1, 0.5, **{other: 0.5}))
    gft = run(tmp_path, "gft", train(1), val(1, 0.75, **{other: 0.75}))
    assert told(sft, gft)[1] == (
        "gft has higher greedy accuracy than sft (0.750 against 0.500); is better at second_skill "
        "(0.750 against 0.500)."
    )


@pytest.mark.parametrize(("now", "said"), [(0.96, "kept"), (0.5, "lost some of"), (0.99, "kept")])
def test_forgetting_is_named(tmp_path, now, said):
    skill = "second_skill/greedy_accuracy"
    rows = [val(0, 0.5, **{skill: 0.97}), train(1), val(1, 0.5, **{skill: now})]
    [sentence] = told(run(tmp_path, "gft", *rows))
    assert f"{said} second_skill (0.970 → {now:.3f})" in sentence


def test_the_table_has_differences_and_errors(tmp_path):
    base = run(tmp_path, "base", val(0, 0.5, **STDERR))
    gft = run(tmp_path, "gft", train(1), val(1, 0.75, kl=0.01, **STDERR))
    sft = run(tmp_path, "sft", train(1), val(1, 0.25))
    table = cells(base, gft, sft)
    assert table["greedy"] == ["0.500 ± 0.020", "0.750 ± 0.020 ▲ +0.250", "0.250 ▼ −0.250"]  # noqa: RUF001
    assert table["KL"] == ["&ndash;", "0.010", "&ndash;"]


def test_a_run_that_has_not_validated_yet_is_said_to_have_none(tmp_path):
    new = run(tmp_path, "new", train(1))
    assert "No run has finished a validation" in verdict_section([new])
    base = run(tmp_path, "base", val(0, 0.5))
    assert told(base, new)[1] == "new has not finished a validation yet."


def test_more_samples_of_one_run_than_of_another_are_each_shown(tmp_path):
    runs = [run(tmp_path, f"r{k}", train(1), val(1, 0.5, **{f"pass@{k}": 0.5, "pass@2": 0.4})) for k in (4, 8)]
    assert cells(*runs)["pass@2"] == ["0.400", "0.400 +0.000"]
    alone = [run(tmp_path, f"s{k}", train(1), val(1, 0.5, **{f"pass@{k}": 0.5})) for k in (4, 8)]
    assert {"pass@4", "pass@8"} <= cells(*alone).keys()
