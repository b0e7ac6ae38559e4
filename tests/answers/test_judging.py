"""What holds of every verdict, beside the table of pairs that the reward is tested on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_gft.answers.algebra import TooLargeError, check_size
from lightning_gft.answers.extraction import find_answer
from lightning_gft.answers.judging import Judge, is_readable, is_readable_cheaply, read_answer
from lightning_gft.answers.latex import tidy
from lightning_gft.answers.shapes import read_shape

TABLE = Path(__file__).parents[1] / "rewards/math_pairs.jsonl"
PAIRS = [json.loads(line) for line in TABLE.read_text().splitlines()]
RIGHT = [pair for pair in PAIRS if pair["right"] and isinstance(pair["reference"], str)]
REFERENCES = sorted({pair["reference"] for pair in PAIRS if isinstance(pair["reference"], str)})


def cheaply(response, *references):
    return Judge().is_right_cheaply(read_answer(response), references)


@pytest.mark.parametrize("form", [r"\boxed{%s}", r"So $\boxed{ %s }$.", "The answer is $%s$.", "**Answer:** %s"])
def test_every_reference_is_right_by_itself_and_needs_no_algebra(form):
    for reference in REFERENCES:
        if "$" not in reference or "boxed" in form:
            assert cheaply(form.replace("%s", reference), reference), reference


def test_what_follows_a_right_answer_takes_it_back():
    for reference in REFERENCES:
        assert not cheaply(rf"\boxed{{{reference}}}. No, I was wrong: \boxed{{98765}}", reference), reference
        assert not cheaply(rf"\boxed{{{reference}}} or \boxed{{98765}}", reference), reference
        assert not cheaply(rf"\boxed{{{reference}}}</think> I give up.", reference), reference


def test_without_an_answer_nothing_is_right():
    for reference in REFERENCES:
        for response in ("", " \n", r"\boxed{}", "####", "...", "\0", "$$", r"\boxed{\text{}}"):
            assert not cheaply(response, reference), (response, reference)


def test_every_reference_of_the_table_can_be_read():
    unread = [reference for reference in REFERENCES if is_readable_cheaply(reference) is False]
    assert not unread
    formulas = [reference for reference in REFERENCES if is_readable_cheaply(reference) is None]
    assert [formula for formula in formulas if not is_readable(formula)] == ["3:30 p.m."]  # not of mathematics


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"a \boxed{1}, \boxed{2} and \boxed{3}", "1, 2, 3"),
        (r"\boxed{1} \boxed{2}", "2"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed {7}", "7"),
        (r"\boxed{a \} b} c", r"a \} b"),
        ("#### 5 apples\n", "5 apples"),
        ("#### Step 1\nx\n#### 5", "5"),
        ("answer: 5\nThe answer is 6, since 3 + 3 = 6.", "6"),
        ("Answer:\n\n  $$x^2$$", "x^2"),
        ("The answer is $3$ or $4$.", "3, 4"),
        ("so $a$ and then $b = 5$ cm.", "b = 5 cm"),
        ("3 + 4 = 7 and 7 * 2 = 14", "14"),
        ("it is $x$ here", "x"),
    ],
)
def test_where_an_answer_is_found(response, answer):
    assert find_answer(response)[-1].strip() == answer


@pytest.mark.parametrize(
    ("text", "kind", "parts"),
    [
        ("1,234", "one", 0),
        ("1,000, 2,000", "list", 2),
        ("(1,234)", "tuple", 2),
        ("((1, 2))", "tuple", 2),
        (r"[1, \infty)", "interval", 2),
        ("[1, 2, 3]", "tuple", 3),
        ("1 < x < 2", "interval", 2),
        ("x < 1 or x > 2", "union", 2),
        (r"\{(1, 2), (3, 4)\}", "set", 2),
        (r"\{1, \ldots, 9\}", "one", 0),
        ("f(1, 2)", "one", 0),
        ("x = 1, y = 2", "list", 2),
        (r"1 \pm \sqrt{2}", "list", 2),
        ("3:4:5", "ratio", 3),
        (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", "matrix", 4),
        (r"\begin{pmatrix} 1 & 2 \\ 3 \end{pmatrix}", "one", 0),
        ("(" * 500 + "1" + ")" * 500, "one", 0),
    ],
)
def test_the_shape_of_an_answer(text, kind, parts):
    shape = read_shape(tidy(text))
    assert (shape.kind, len(shape.parts)) == (kind, parts)


@pytest.mark.parametrize(
    "formula",
    [
        "9^{9^{9}}",
        "9^9^9",
        "2^{999999}",
        "2^{-999999}",
        "(5!)!",
        "1000000!",
        r"\binom{10^9}{5}",
        "{" * 16 + "1" + "}" * 16,
    ],
)
def test_what_is_too_large_is_refused_before_sympy(formula):
    with pytest.raises(TooLargeError, match="expected a formula that can be evaluated, got"):
        check_size(formula)


@pytest.mark.parametrize(
    "formula",
    ["2^{1000}", "100!", "e^{-x^2}", "2^{2^n}", "2^{2^3}", "x^{n^2}", r"\binom{100}{50}", "e^{x+1}", "10^{-12}"],
)
def test_what_an_answer_may_be_is_not_too_large(formula):
    check_size(formula)


def test_reading_and_comparing_need_no_torch():
    code = "import sys, lightning_gft.answers.judging; sys.exit(any(m in sys.modules for m in ('torch', 'sympy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
