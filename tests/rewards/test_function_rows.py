"""Rows of the data that lack what a function needs."""

from __future__ import annotations

import re

import pytest

from lightning_gft.rewards import FunctionReward


def graded(responses, references, level, hint=None):
    return [0.0] * len(responses)


@pytest.mark.parametrize(
    ("reference", "level", "missing"), [(None, 1, "references"), ("1", None, "level"), (None, None, "level")]
)
def test_a_row_without_a_value_that_the_function_needs_is_unfit(reference, level, missing):
    reward = FunctionReward(f"{__name__}.graded")
    message = (
        f"`{missing}`: expected a value for this parameter of {__name__}.graded, got null; give the row one, or the "
        f"parameter a default, {missing}=None, if the function can do without"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        reward.check_row(reference, {"level": level, "hint": None})
    reward.check_row("1", {"level": 0, "hint": None, "prompts": None, "responses": None})


@pytest.mark.parametrize("blank", ["", " ", "\n"])
def test_a_blank_reference_is_no_value_by_either_of_its_names(blank):
    functions = {"references": lambda references, hint: None, "answer": lambda answer, hint: None}
    for name, function in functions.items():
        reward = FunctionReward(function)
        fault = f"^`{name}`: expected a value .*, got {re.escape(repr(blank))}, which no answer equals; give"
        with pytest.raises(ValueError, match=fault):
            reward.check_row(blank, {"answer": blank, "hint": "7"})
        reward.check_row("7", {"answer": "7", "hint": blank})
        reward.check_row(["", "7"], {"answer": ["", "7"], "hint": blank})  # may be the inputs of a test


def test_a_blank_value_beside_a_blank_reference_is_a_value():
    FunctionReward(lambda responses, hint: None).check_row("", {"answer": "", "hint": ""})
    with pytest.raises(ValueError, match=r"^`references`: expected a value"):
        FunctionReward(lambda responses, references: None).check_row("", {"answer": "", "hint": ""})


@pytest.mark.parametrize("function", [lambda hint, **columns: None, lambda hint, references=None, answer=None: None])
def test_a_function_that_can_do_without_a_reference_gets_a_blank_one(function):
    FunctionReward(function).check_row("", {"answer": "", "hint": "7"})


def test_a_function_that_names_no_references_needs_none():
    FunctionReward(lambda responses, level=None: responses).check_row(None, {"level": None})
    FunctionReward(lambda **columns: columns).check_row(None, {"level": None})  # it handles all of them itself
