import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lightning_gft.rewards import NumericReward

GSM8K = Path(__file__).parents[3] / "shared/data/gsm8k/train-00000-of-00001.parquet"


def score(reward, response, reference):
    return reward(prompts=["p"], responses=[response], references=[reference]).item()


@pytest.mark.parametrize(
    ("response", "number"),
    [
        ("72", "72"),
        ("The answer is 72.", "72"),
        ("so...5", "5"),
        ("1 then 2 then 3", "3"),
        ("+7", "7"),
        ("-12", "-12"),
        ("\u221212", "-12"),
        ("the answer is -12", "-12"),
        ("3-15=-12", "-12"),
        ("\\boxed{-12}", "-12"),
        ("$-12$", "-12"),
        ("**-12**", "-12"),
        ("0.5", "0.5"),
        (".5", "0.5"),
        ("-.5", "-0.5"),
        ("1,234", "1234"),
        ("1,234,567.89", "1234567.89"),
        ("-1,234", "-1234"),
        ("$5", "5"),
        ("-$5", "-5"),
        ("\\$1,234.50", "1234.5"),
        ("-\\$5", "-5"),
        ("€5", "5"),
        ("5€", "5"),
        ("£5.25", "5.25"),
        ("50%", "50"),
        ("50 %.", "50"),
        ("3/4", "0.75"),
        ("3 / 4", "0.75"),
        ("-3/4", "-0.75"),
        ("1,000/8", "125"),
        ("1e3", "1000"),
        ("1.5E-3", "0.0015"),
        ("-2e+2", "-200"),
        ("12elephants", "12"),
        ("0" * 30 + "7", "7"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
    ],
)
def test_the_last_number_counts_without_a_marker(response, number):
    assert score(NumericReward(tolerance=0.0), response, number) == 1.0
    assert score(NumericReward(tolerance=0.0), response, str(Fraction(number) + 1)) == 0.0


@pytest.mark.parametrize(
    "response", ["", "no number", "-", "$", "1/0", "½", "\u0663", "nan", "inf", "1e99999999999999999999"]
)
def test_no_number_scores_0(response):
    assert score(NumericReward(), response, "0") == 0.0


@pytest.mark.parametrize(
    ("marker", "response", "number"),
    [
        ("####", "6 * 12 = 72 #### 72", 72),
        ("####", "#### 72\n\nNext: 3 apples and 4 pears", 72),
        ("####", "#### 1 #### 72", 72),
        ("####", "####$1,072.", 1072),
        ("####", "#### The answer is -3/4 of it", -0.75),
        ("#", "3-15=-12,#-12", -12),
        ("####", "#### 6 * 12 = 72 apples", 72),
        ("####", "#### 72 (3 more than 69)", 72),
        ("Answer:", "1 Answer: 72 2", 72),
    ],
)
def test_the_first_number_after_the_last_marker_counts(marker, response, number):
    assert score(NumericReward(marker=marker), response, number) == 1.0
    assert score(NumericReward(marker=marker), response, number + 1) == 0.0


@pytest.mark.parametrize("response", ["72", "72 ####", "72 #### none", "#### 72 ####", "### 72"])
def test_nothing_after_the_marker_scores_0(response):
    assert score(NumericReward(marker="####"), response, "72") == 0.0


@pytest.mark.parametrize(
    ("marker", "reference"),
    [
        ("", "72"),
        ("", 72),
        ("", 72.0),
        ("", np.int64(72)),
        ("", np.float32(72)),
        ("", "36 + 36 = <<36+36=72>>72\n#### 72"),
        ("####", "1 #### 72 apples"),
        ("", Decimal("72.0")),
        ("", Fraction(72)),
        ("", ["1", 72]),
        ("", (71, "72 apples")),
        ("", 1e-7 + 72),
    ],
)
def test_a_reference_may_be_text_or_number_with_or_without_the_marker(marker, reference):
    assert score(NumericReward(marker=marker), "#### 72", reference) == 1.0
    assert score(NumericReward(marker=marker), "#### 73", reference) == 0.0


@pytest.mark.parametrize(
    "reference",
    [
        *(None, "", "many", float("nan"), float("inf"), "1/0", "#### none", "9" * 5000, True, b"72", 1j, {"value": 72}),
        *("1 and 72", "72 apples, 3 pears", "x = 72", "the answer is 72", ["72", "many"], [["72"]]),
    ],
)
def test_a_reference_that_is_not_a_number_is_an_error_before_any_response_is_there(reference):
    with pytest.raises(ValueError, match=r"the reference of NumericReward: expected a text that is one number"):
        NumericReward(marker="Answer:").check_row(reference, {})
    with pytest.raises(ValueError, match=r"the reference of NumericReward: expected a text that is one number"):
        score(NumericReward(marker="Answer:"), "no marker", reference)


def test_a_worked_reference_is_read_after_its_hashes_whatever_the_marker():
    assert score(NumericReward(marker="Answer:"), "Answer: 72", "1 + 71 = 72 #### 72") == 1.0


def test_a_list_of_references_means_any_of_them():
    for answer, expected in (("5", 1.0), ("6.0", 1.0), ("7", 0.0), ("56", 0.0)):
        assert score(NumericReward(), answer, ["5", "6 apples"]) == expected
    with pytest.raises(ValueError, match="the reference: expected at least one answer, got an empty list"):
        NumericReward().check_row([], {})


@pytest.mark.parametrize(
    ("response", "reference", "tolerance", "expected"),
    [
        ("0.3333333", "1/3", 1e-6, 1.0),
        ("0.333", "1/3", 1e-6, 0.0),
        ("0.333", "1/3", 1e-3, 1.0),
        ("1000000.5", "1000000", 1e-6, 1.0),  # relative to a large reference
        ("1000001", "1000000", 1e-6, 0.0),  # whole numbers carry no rounding error
        ("1000001", "1000000.0", 1e-6, 0.0),
        ("99", "100", 0.1, 0.0),
        ("99", "100", 1.0, 1.0),
        ("-72", "72", 1e-6, 0.0),
        ("1e-9", "0", 1e-6, 1.0),
        ("0.1", "0.1", 0.0, 1.0),
        ("0.1000001", "0.1", 0.0, 0.0),
    ],
)
def test_tolerance(response, reference, tolerance, expected):
    assert score(NumericReward(tolerance=tolerance), response, reference) == expected


@pytest.mark.parametrize("tolerance", [-1e-6, math.nan, math.inf])
def test_a_tolerance_out_of_range_is_refused(tolerance):
    with pytest.raises(ValueError, match="`tolerance` of NumericReward: expected a number of at least 0"):
        NumericReward(tolerance=tolerance)


@pytest.mark.parametrize(
    "response",
    [
        "9" * 5000,
        "1" * 300_000,
        "1," * 150_000,
        "1,111" * 60_000,
        "1/" * 50_000,
        "-" * 30_000,
        "1e" + "9" * 5000,
        "." * 30_000,
        "1" * 5000 + " 1/2",
        "\\boxed{" * 2000,
        "<a b=" + " " * 8000,
        "<a" + " b=" * 8000,
        "^" + " " * 8000,
        "\\frac{" + "1" * 8000,
        "\\frac{" * 8000,
        "\\text{" * 8000,
        "{" * 8000,
        "}" * 8000,
        "\\" * 8001,
        "1 111" + " 111" * 8000,
        "half of " * 8000,
        "2 over " * 8000 + "2",
        "over " + "(" * 8000,
        "|-1" * 8000,
        "a/" * 8000,
    ],
    ids=lambda response: f"{response[:6]}x{len(response)}",
)
def test_endless_repetition_is_no_number_and_no_error(response):
    for marker in ("", "#"):
        assert score(NumericReward(marker), "#" + response, "72") == 0.0


@pytest.fixture(scope="module")
def gsm8k():
    if not GSM8K.exists():
        pytest.skip("GSM8K is not here")
    answers = pytest.importorskip("pyarrow.parquet").read_table(GSM8K)["answer"].to_pylist()
    assert len(answers) == 7473
    return answers


@pytest.mark.parametrize("marker", ["####", ""])
def test_every_gsm8k_answer_is_right_and_every_other_number_wrong(gsm8k, marker):
    reward = NumericReward(marker=marker)
    finals = [answer.split("####")[1].strip() for answer in gsm8k]
    wrong = [int(final.replace(",", "")) + 1 for final in finals]
    assert reward(prompts=gsm8k, responses=gsm8k, references=finals).sum() == len(gsm8k)
    assert reward(prompts=gsm8k, responses=gsm8k, references=gsm8k).sum() == len(gsm8k)
    assert reward(prompts=gsm8k, responses=gsm8k, references=wrong).sum() == 0
