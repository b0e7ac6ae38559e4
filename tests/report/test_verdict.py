"""What is said of runs: that it follows the figures, and speaks of a change only where there is one."""

from __future__ import annotations

import math
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
    page = re.sub(r'<span class="whose">.*?</span></span>', "", verdict_section(runs))
    rows = re.findall(r"<tr>(.*?)</tr>", page.partition("<tbody>")[2])
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
        "By step 1, gft raised greedy accuracy from 50% to 75%; "
        "diversity: its samples vary less (entropy 0.300 → 0.100)."
    )


@pytest.mark.parametrize(
    ("greedy", "said"),
    [
        (0.75, "By step 1, gft raised greedy accuracy from 50% to 75%."),
        (0.25, "By step 1, gft lowered greedy accuracy from 50% to 25%."),
        (0.54, "By step 1, gft shows no clear change in greedy accuracy (50% → 54%, ±\u00a06)."),
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
        "By step 1, gft raised greedy accuracy from 50% (base) to 75%; a sample is right more often "
        "(mean@8 25% → 50%); diversity: fewer prompts are solved by one of 8 samples (pass@8 75% → 50%).",
    ]


def test_two_trained_runs_are_compared_without_saying_that_one_became_the_other(tmp_path):
    other = "second_skill/greedy_accuracy"
    sft = run(tmp_path, "sft", train(1), val(1, 0.5, **{other: 0.5}))
    gft = run(tmp_path, "gft", train(1), val(1, 0.75, **{other: 0.75}))
    assert told(sft, gft)[1] == (
        "At step 1, gft has higher greedy accuracy than sft (75% against 50%); it is better at second_skill "
        "(75% against 50%)."
    )


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (0.96, "no clear change on second_skill (97% → 96%)"),
        (0.75, "it forgot some of second_skill: 97% → 75%"),
        (0.25, "it forgot most of second_skill: 97% → 25%"),
        (math.nan, "second_skill was not a number"),
    ],
)
def test_forgetting_is_named_by_how_much_it_is(tmp_path, now, said):
    skill = "second_skill/greedy_accuracy"
    rows = [val(0, 0.5, **{skill: 0.97}), train(1), val(1, 0.5, **{skill: now})]
    assert told(run(tmp_path, "gft", *rows))[0].endswith(f"; {said}.")


def test_nothing_is_kept_that_could_not_be_told_apart(tmp_path):
    skill = {"second_skill/greedy_accuracy": 0.969, "second_skill/greedy_accuracy_stderr": 0.022}
    later = {"second_skill/greedy_accuracy": 0.875, "second_skill/greedy_accuracy_stderr": 0.042}
    [sentence] = told(run(tmp_path, "sft", val(0, 0.5, **skill), train(1), val(1, 0.5, **later)))
    assert sentence.endswith("no clear change on second_skill (97% → 88%, ±\u00a09).")


def test_steps_are_named(tmp_path):
    sft = run(tmp_path, "sft", train(10), val(10, 0.85), train(200), val(200, 0.91))
    gft = run(tmp_path, "gft", train(40), val(40, 0.98, entropy=0.5))
    assert told(sft, gft) == [
        "From step 10 (its start was not measured) to step 200, sft raised greedy accuracy from 85% to 91%.",
        "At step 40, gft has higher greedy accuracy than sft at step 200 (98% against 91%); "
        "diversity: entropy 0.500 (not measured for sft).",
    ]
    mixed = run(tmp_path, "mixed", val(0, 0.5, entropy=0.5), train(1), val(1, 0.5, entropy=0.1), val(2, 0.9))
    assert told(mixed)[0].endswith("(entropy 0.500 → 0.100 at step 1).")
    assert cells(mixed)["entropy"] == ["0.100 at step 1 −0.400"]  # noqa: RUF001


def test_a_start_alone_is_no_result(tmp_path):
    begun = run(tmp_path, "gft", val(0, 0.5), train(1))
    said = "gft has not been validated since it began; at step 0 it answers 50% of prompts correctly (greedy)."
    assert told(begun) == told(run(tmp_path, "base", val(0, 0.5)), begun)[1:] == [said]


def test_a_run_that_was_only_measured_on_other_data_is_told_of(tmp_path):
    base = run(tmp_path, "base", val(0, 0.5, **{"hard/greedy_accuracy": 0.9}))
    other = run(tmp_path, "other", train(1), {"step": 1, "val/hard/greedy_accuracy": 0.7})
    assert told(base, other)[1] == (
        "By step 1, other was validated on other data only; it forgot some of hard: 90% → 70%."
    )


def test_what_does_not_compare_is_said(tmp_path):
    base = run(tmp_path, "base", val(0, 0.5, entropy=0.0, **{"pass@8": 0.5}))
    gft = run(tmp_path, "gft", train(1), val(1, 0.75, entropy=0.2, **{"pass@4": 0.5, "hard/greedy_accuracy": 0.25}))
    assert told(base, gft)[1].endswith(
        "diversity: its samples vary more (entropy 0.000 → 0.200), and pass@4 50% (not measured at the start); "
        "hard 25% (not measured at the start)."
    )


def test_a_value_that_is_no_number_is_said_to_be_none(tmp_path):
    base = run(tmp_path, "base", val(0, 0.5))
    gft = run(tmp_path, "gft", train(1), val(1, math.nan))
    assert told(base, gft)[1] == "By step 1, gft has a greedy accuracy that was not a number."
    assert told(gft, base)[1] == "base has a greedy accuracy of 50% (that of gft was not a number)."
    assert cells(base, gft)["greedy"] == ["50.0%", "not a number"]


def test_the_table_has_differences_and_errors(tmp_path):
    base = run(tmp_path, "base", val(0, 0.5, **STDERR))
    gft = run(tmp_path, "gft", train(1), val(1, 0.75, kl=0.01, **STDERR))
    sft = run(tmp_path, "sft", train(1), val(1, 0.25))
    table = cells(base, gft, sft)
    assert table["greedy"] == ["50.0% ± 2.0", "75.0% ± 2.0 ▲ +25.0", "25.0% ▼ −25.0"]  # noqa: RUF001
    assert table["KL(policy‖base)"] == ["&ndash;", "0.010", "&ndash;"]


def test_a_run_that_has_not_validated_yet_is_said_to_have_none(tmp_path):
    new = run(tmp_path, "new", train(1))
    assert "No run has finished a validation" in verdict_section([new])
    base = run(tmp_path, "base", val(0, 0.5))
    assert told(base, new)[1] == "new has not finished a validation yet."


def test_more_samples_of_one_run_than_of_another_are_each_shown(tmp_path):
    runs = [run(tmp_path, f"r{k}", train(1), val(1, 0.5, **{f"pass@{k}": 0.5, "pass@2": 0.4})) for k in (4, 8)]
    assert cells(*runs)["pass@2"] == ["40.0%", "40.0% +0.0"]
    alone = [run(tmp_path, f"s{k}", train(1), val(1, 0.5, **{f"pass@{k}": 0.5})) for k in (4, 8)]
    assert {"pass@4", "pass@8"} <= cells(*alone).keys()
