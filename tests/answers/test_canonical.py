"""Answers that are the same are written alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightning_gft.answers.canonical import canonical_answer
from lightning_gft.answers.judging import LONGEST_ANSWER, read_answer

LEFT_OUT = {
    *("another unit of length", "an area is no length", "a mass is no length", "another unit of time"),
    *("another unit of money", "other people", "another variable"),
}
"""Why responses are wrong by what does not count here: the unit of a number, and the variable that is set equal."""
PAIRS = [json.loads(line) for line in (Path(__file__).parents[1] / "rewards/math_pairs.jsonl").open()]


def canonical(response: str) -> str | None:
    return canonical_answer(read_answer(response))


@pytest.mark.parametrize(
    "responses",
    [
        [r"so \boxed{0.5}", r"The answer is $\frac{1}{2}$.", "#### 1/2", r"\boxed{\dfrac12}", "It is 0.50"],
        [r"\boxed{1,234}", "1234", r"x = 1234", "1234 apples"],
        [r"\boxed{\text{Yes}}", "The answer is yes."],
        [r"\boxed{(B)}", "The answer is B.", r"\boxed{\text{(B) }12}", "#### B"],
        [r"\boxed{\{1, 2, 3\}}", r"\boxed{\{3,1,2\}}", r"\boxed{1, 2, 3}"],
        [r"\boxed{[0, 1)}", r"\boxed{[0,1.0)}"],
        [r"\boxed{(1, 2)}", r"\boxed{(1.0, \frac{4}{2})}"],
        [r"\boxed{2:4}", r"\boxed{1:2}"],
        [r"\boxed{x+1}", r"\boxed{ x + 1 }"],
    ],
    ids=["half", "thousands", "words", "choice", "set", "interval", "tuple", "ratio", "formula"],
)
def test_the_same_is_written_alike(responses: list[str]):
    assert len({canonical(response) for response in responses}) == 1
    assert canonical(responses[0])


def test_what_differs_is_written_otherwise():
    boxed = ["1", "2", "-1", "50%", "(1, 2)", "(2, 1)", "[1, 2]", "[1, 2)", r"\{1, 2\}", "(A)", "(x)+1", "(x)+2", "1:3"]
    written = [canonical(rf"\boxed{{{text}}}") for text in boxed]
    assert len({*written}) == len(boxed)


def test_no_answer_and_one_that_is_too_long_to_judge_are_none():
    assert canonical("") is None
    assert canonical(rf"\boxed{{{'x' * (LONGEST_ANSWER + 1)}}}") is None


def test_a_number_of_any_size_is_written():
    assert canonical(r"\boxed{10^{9999}}") == canonical(r"\boxed{1e9999}") != canonical(r"\boxed{1e9998}")


def test_a_response_that_is_written_as_the_reference_is_right():
    same = [
        pair
        for pair in PAIRS
        if isinstance(pair["reference"], str)
        and canonical(pair["response"]) == canonical(rf"\boxed{{{pair['reference']}}}") is not None
    ]
    assert len(same) > 100
    assert {pair["reason"] for pair in same if not pair["right"]} <= LEFT_OUT
