"""Reading takes one pass: a scan for each pair or piece of these texts would take half an hour, or recur too deep."""

import pytest

from lightning_gft.answers.extraction import find_answer
from lightning_gft.answers.latex import peeled, tidy
from lightning_gft.answers.numbers import find_number
from lightning_gft.answers.shapes import read_shape

MANY = 300_000


@pytest.mark.parametrize(
    ("text", "tidied"), [("{" * MANY + "7" + "}" * MANY, "7"), ("{ " * MANY + "7" + "}," * MANY, "7")]
)
def test_braces_around_all_go_in_one_pass(text, tidied):
    assert tidy(text) == tidied


@pytest.mark.parametrize("text", ["{1} + {2}", "{1", "1}", "{(1}", "{}", "{{1}", ""])
def test_braces_that_are_not_around_all_stay(text):
    assert tidy(text) == {"{}": "", "{(1}": "{(1}"}.get(text, text)


def test_brackets_around_all_go_in_one_pass():
    text = "( " * MANY + "7" + ") " * MANY
    start, stop = peeled(text.strip(), "()", " ", " ")[-1]
    assert text[start:stop] == "7"
    assert read_shape("( " * 2_000 + "1, 2" + " )" * 2_000).kind == "tuple"
    assert read_shape("((1, 2), (3, 4))").parts[1].kind == "tuple"


def test_headings_with_the_marker_are_passed_over_however_many():
    assert find_answer("#### 5\n" + "#### Step\nwords\n" * 100_000) == ("5",)


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece",
    [
        *("{", "}", "{}", "(", ")", "[", r"\boxed{", r"\boxed{1}", r"\fbox{1} ", r"\boxed{1}, ", r"\frac{"),
        *(r"\frac{1}{2}", "$", "$1$ ", "\\", r"\\(", "1", "1,", ",", "####", "#### 1\n", "the answer is "),
        *("the answer is 1. ", "answer to ", "\u2212", "\u00bd", "<think>", "</think>", "<a ", "\n", " ", "1=", "x="),
        *("**", r"\text{", "1 and ", "^\u00b2"),
    ],
)  # fmt: skip
def test_a_response_that_repeats_itself_forever_is_read(piece):
    text = piece * (100_000 // len(piece))
    for response in (text, r"\boxed{" + text + "}" * 100_000):
        assert len(find_answer(response)) <= 4
        find_number(response, first=False)
