"""Where a response says what its answer is, for numbers, formulas and choices alike."""

import time

import pytest

from lightning_gft.answers.extraction import find_answer
from lightning_gft.answers.statements import after_statement, begins_with_statement, says_answer
from tests.conftest import quick


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *(("The answer is 5", "5"), ("**Answer:** 5", "** 5"), ("Answer = 5", "5")),
        *(("The answers are 3 and 4", "3 and 4"), ("It must be 5: the answer would be 5", "5")),
        *(("The answer to part (b) is 5", "5"), ("Answer (in metres): 5", "5")),
        *(("Final answer\n\n5", "5"), ("The correct option is B", "B"), ("Option: B", "B"), ("My choice: B", "B")),
        *(("The answer is A. No.\nThe answer is B", "B"), ("It is done. Choice: B", "B")),
        # a judgement of an answer, or another answer, says none
        *(("The answer is 5. This answer is right.", "5. This answer is right."), ("This option is true", None)),
        *(("The answer is 5. The wrong answer is 4", "5. The wrong answer is 4"), ("The other choice is A", None)),
        # a step of a solution says none
        *(("First choice: 5 ways", None), ("For this option: 3 dollars each", None), ("With that choice = 2", None)),
        *(("I answered 5", None), ("The answer, I think, follows", None), ("", None)),
    ],
)  # fmt: skip
def test_the_last_statement_counts(text, said):
    after = after_statement(text)
    assert (after and after.strip()) == said
    assert says_answer(text) == (said is not None)


def test_a_line_begins_with_a_statement():
    assert begins_with_statement("Answer: 5")
    assert not begins_with_statement("So the answer is 5")


def test_what_follows_steps_that_name_choices_is_the_answer():
    assert find_answer("First choice: 5 ways.\nSecond choice: 4 ways.\nSo there are 20.")[-1] == "20"


@pytest.mark.parametrize(
    "piece", quick(["answer to ", "answer ", "answer (", "final answer", "option: "], "answer to ", "option: ")
)
@pytest.mark.parametrize("filling", ["", " " * 1000, "*" * 1000, "." * 1000, " " * 1_000_000])
def test_a_megabyte_is_searched_in_one_pass(piece, filling):
    text = (piece + filling) * (1_000_000 // len(piece + filling) or 1)
    start = time.process_time()
    after_statement(text)
    assert time.process_time() - start < 8  # about 0.4 s; quadratic search takes minutes
