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


def test_a_function_that_names_no_references_needs_none():
    FunctionReward(lambda responses, level=None: responses).check_row(None, {"level": None})
    FunctionReward(lambda **columns: columns).check_row(None, {"level": None})  # it handles all of them itself
