"""Errors of rows are listed once, each with the setting of the part that raised it."""

from __future__ import annotations

import traceback
from itertools import product
from unittest.mock import Mock

import pytest

from lightning_gft.errors import completing_errors
from lightning_gft.inspection.problems import Problems


def test_no_fault_is_told_twice_and_each_line_of_one_is_set_off():
    problems = Problems()
    for text in (
        "train data: row 1 (counting from 0): no text",
        "row 1 (counting from 0): no text",
        "train data, row 1 (counting from 0): no text",
        "val data: row 1 (counting from 0): no text",
        "no server",
        "no server",
        "give every row a reference\nThe first that fails:\n  row 3",
    ):
        problems.add(ValueError(text))
    assert problems.lines() == [
        "train data: row 1 (counting from 0): no text (the same in 1 other row of val data: 1)",
        "no server",
        "give every row a reference. The first that fails: row 3",
    ]


def test_errors_beyond_those_listed_are_counted_by_their_rows():
    problems = Problems()
    for message, row in product(range(12), range(3)):
        problems.add(ValueError(f"row {row} (counting from 0): expected a text, got {message}"))
    *listed, last = problems.lines()
    assert [line.endswith("(the same in 2 other rows: 1, 2)") for line in listed] == [True] * 10
    assert last == "... and 6 more like it: row 0 (counting from 0): expected a text, got 11"
    assert len(problems) == 36


class Raiser:
    """A part whose error names no setting, so that only the part itself tells it."""

    def __init__(self, setting: str) -> None:
        self.setting = setting

    def fail(self, row: int, got: str) -> None:
        raise ValueError(f"train data, row {row} (counting from 0): expected a text, got {got}")


def setting_of_raiser(error: BaseException) -> None:
    """Name an error as the command line does: by the object that was running."""
    owners = (frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__))
    (setting,) = [owner.setting for owner in owners if isinstance(owner, Raiser)]
    before, after = str(error).split(": ", 1)
    error.args = (f"{before}: `{setting}`: {after}",)


@pytest.mark.parametrize("texts", [1, 500])
def test_the_setting_is_found_once_for_the_errors_of_a_part(texts: int):
    namer = Mock(side_effect=setting_of_raiser)
    parts, problems = [Raiser("a"), Raiser("b")], Problems()
    with completing_errors(namer):
        for row in range(500):
            for part in parts:
                with problems.collecting():
                    part.fail(row, str(row % texts))
    assert len(problems) == 2 * 500
    assert namer.call_count == 2
    one, *_ = lines = problems.lines()
    assert [sum(f"`{name}`" in line for line in lines) for name in "ab"] == ([1, 1] if texts == 1 else [11, 11])
    assert one.startswith("train data, row 0 (counting from 0): `a`: expected a text, got 0")
    assert one.endswith(" (the same in 499 other rows of train data: 1, 2, 3, ...)") == (texts == 1)


def test_errors_that_name_two_rows_are_merged_if_both_are_the_same():
    problems = Problems()
    for second in (2, 3, 3):
        problems.add(ValueError(f"row 1 (counting from 0) and row {second} (counting from 0): the same prompt"))
    assert problems.lines() == [
        "row 1 (counting from 0) and row 2 (counting from 0): the same prompt",
        "row 1 (counting from 0) and row 3 (counting from 0): the same prompt",
    ]
    assert len(problems) == 2


def test_only_so_many_kinds_of_errors_are_listed():
    problems = Problems()
    for kind in range(300):
        problems.add(ValueError(f"kind {kind}"))
    assert len(problems.lines()) == 20 + 10 + 1
    assert problems.lines()[-1] == "... and 270 more like it: kind 299"
