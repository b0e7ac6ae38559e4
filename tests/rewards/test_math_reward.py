"""Answers judged as mathematics, by the reward and its real worker processes."""

import json
import math
import re
import sys
import uuid
import warnings
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lightning_gft import MathAccuracyReward
from lightning_gft.answers.judging import Judge, read_answer
from lightning_gft.preflight.data import _faulty_references
from lightning_gft.rewards import Failed
from tests.rewards.math_attacks import attacks
from tests.rewards.processes import alive, wait_until

GSM8K = Path(__file__).parents[3] / "shared/data/gsm8k"
PAIRS = [json.loads(line) for line in (Path(__file__).parent / "math_pairs.jsonl").read_text().splitlines()]
DISAGREED = {
    ("forty-two", "42"): "numbers in words are not read",
    (r"The probability is $\frac{1}{6}$, or about $16.7\%$.", "1/6"): "the last expression is a rounded one",
    ("100 cents", r"\$1"): "currency signs are passed over",
    ("8 women", "8 men"): "words that are no unit of measurement are passed over",
    ("2x > 6", "x > 3"): "inequalities are not solved",
    ("infinitely many", "infinitely many solutions"): "words are not understood",
    ("3:30 PM", "3:30 p.m."): "times of day are compared as they are written",
    ("C_6H_{12}O_6", "C6H12O6"): "chemistry",
    ("2 hours and 30 minutes", "2.5 hours"): "a quantity of two parts is read as two",
    ("first", "1st"): "ordinals in words are not read",
}
"""Where the verdict is not that of a careful person, and why."""


@pytest.fixture(scope="module")
def reward():
    reward = MathAccuracyReward(workers=2, seconds=60)
    yield reward
    reward.close()


def scores(reward, responses, references):
    return reward(prompts=["p"] * len(responses), responses=responses, references=references)


def test_the_table_of_pairs_is_broad_and_has_no_pair_twice():
    pairs = {(pair["response"], json.dumps(pair["reference"])) for pair in PAIRS}
    assert len(pairs) == len(PAIRS) >= 200
    assert all(pair.keys() == {"category", "response", "reference", "right", "reason"} for pair in PAIRS)
    assert len({pair["category"] for pair in PAIRS}) >= 15


def test_the_verdicts_are_those_of_a_careful_person(reward):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of answers that are too large
        given = scores(reward, [pair["response"] for pair in PAIRS], [pair["reference"] for pair in PAIRS])
    disagreed = {
        (pair["response"], pair["reference"] if isinstance(pair["reference"], str) else tuple(pair["reference"]))
        for pair, score in zip(PAIRS, given, strict=True)
        if score != pair["right"]
    }
    assert disagreed == DISAGREED.keys()
    assert len(DISAGREED) <= 0.03 * len(PAIRS)


def test_numbers_texts_and_shapes_need_no_process():
    reward = MathAccuracyReward()
    cheap = [pair for pair in PAIRS if pair["category"] in ("fractions", "percentages", "multiple choice", "text")]
    judge = Judge()
    for pair in cheap:
        verdict = judge.is_right_cheaply(read_answer(pair["response"]), [pair["reference"]])
        assert verdict is not None or pair["response"].startswith((r"\frac{\frac", r"{3 \over")), pair
    assert scores(reward, ["1,234", "(2, 1/2)", r"\{3, 1\}", "B)"], ["1234", "(2, 0.5)", "{1, 3}", "B"]) == [1.0] * 4
    assert not reward.pool.is_running


@pytest.fixture(scope="module")
def gsm8k():
    if not GSM8K.exists():
        pytest.skip("GSM8K is not here")
    parquet = pytest.importorskip("pyarrow.parquet")
    answers = [
        answer
        for split in ("train", "test")
        for answer in parquet.read_table(GSM8K / f"{split}-00000-of-00001.parquet")["answer"].to_pylist()
    ]
    assert len(answers) == 8792
    return answers


def test_every_gsm8k_answer_is_right_and_no_other_number(gsm8k):
    reward = MathAccuracyReward()
    finals = [answer.split("####")[1].strip() for answer in gsm8k]
    corrupted = [re.sub(r"(?<=#### ).*", str(int(final.replace(",", "")) + 1), answer) for answer, final in
                 zip(gsm8k, finals, strict=True)]  # fmt: skip
    for references in (finals, gsm8k):
        reward.read_ahead(references)
        for reference in references:
            reward.check_row(reference, {})
        assert sum(scores(reward, gsm8k, references)) == len(gsm8k)
        assert sum(scores(reward, corrupted, references)) == 0
    assert sum(scores(reward, [f"The answer is {final}." for final in finals], finals)) == len(gsm8k)
    assert sum(scores(reward, [rf"So $\boxed{{{final}}}$" for final in finals], finals)) == len(gsm8k)
    assert not reward.pool.is_running
    assert set(reward.compute().values()) == {0}


def marked(mark):
    """Return the processes that have a mark in their environment, which those that a process starts inherit."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in entry.read_bytes():
                found.add(int(entry.parent.name))
        except OSError:
            continue  # ended meanwhile
    return {pid for pid in found if alive(pid)}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
def test_a_thousand_malicious_answers_have_their_verdicts_and_leave_no_process(monkeypatch):
    mark = uuid.uuid4().hex
    monkeypatch.setenv("GFT_TEST_MARK", mark)
    malicious = attacks(1000)
    references = ["1234567.5" if number % 2 else r"\sqrt{2}x+1" for number in range(len(malicious))]
    reward = MathAccuracyReward(workers=2, failed_score=-1.0)
    with pytest.warns(UserWarning, match="MathAccuracyReward"):
        given = scores(reward, malicious, references)
    assert len(given) == 1000
    assert set(given) == {0.0, -1.0}
    assert given.count(-1.0) == sum(reward.compute().values())
    assert scores(reward, [r"\boxed{\sqrt{12}}"], [r"2\sqrt{3}"]) == [1.0]  # and the reward works on
    assert marked(mark)
    reward.close()
    wait_until(lambda: not marked(mark), "a worker process is left")


def test_an_answer_that_takes_too_long_is_counted_and_costs_itself_alone():
    reward = MathAccuracyReward(workers=1, seconds=0.5, failed_score=-0.5)
    slow = r"\boxed{\int \frac{\sin x^3}{\ln \cos x} dx}"
    with pytest.warns(UserWarning, match=r"took longer than 0.5 s.*failed_score=-0.5.*counted as timeouts"):
        assert scores(reward, [slow], [r"\int x^2 dx"]) == [-0.5]
    reward.pool.seconds = 600
    assert scores(reward, [r"\boxed{\sqrt{12}}"], [r"2\sqrt{3}"]) == [1.0]
    assert reward.compute()["timeouts"] == 1
    reward.reset()
    assert set(reward.compute().values()) == {0}
    reward.close()


@pytest.mark.parametrize(
    "reference",
    [
        *("42", 42, 42.0, np.int64(42), Decimal("42.0"), Fraction(42), ["41", 42], ("x", "42")),
        *(r"so \boxed{42}", "1+41 #### 42", "<think>or 41</think> 42", r"\boxed{\boxed{42}}"),
    ],
)
def test_a_reference_may_be_text_or_number_and_a_list_means_any(reference):
    reward = MathAccuracyReward()
    reward.check_row(reference, {})
    assert scores(reward, ["42", "43"], [reference] * 2) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("reference", "got"),
    [
        *((wrong, "give a text or a number") for wrong in (None, True, b"42", {"value": 42}, [["42"]], 1j)),
        *((wrong, "cannot be read") for wrong in ("", "  ", "####", r"\boxed{}", r"\frac{1}{", "x^{2", "1 +* 2")),
        *(
            (wrong, "cannot be read")
            for wrong in ("x=", "$x = $", "5,", "5;", r"\boxed{5,}", "x" * 100_000, "{" * 5_001)
        ),
        *(
            (wrong, "cannot be read")
            for wrong in ("1/0", "0/0", r"\frac{x}{2-2}", r"\infty-\infty", "x = 1/0", "(1/0, 2)")
        ),
        *(
            (wrong, "cannot be read")
            for wrong in ("<think>5</think>", "<think>5", r"\boxed{5", r"1, \boxed{\frac{1}{2}")
        ),
        *((wrong, re.escape(f"got {wrong!r}; correct the data")) for wrong in (math.nan, -math.inf, np.float32("inf"))),
        (Decimal("NaN"), r"got Decimal\('NaN'\); correct the data"),
        ([], "expected at least one answer"),
    ],
)
def test_a_reference_that_cannot_be_read_is_an_error_before_training(reward, reference, got):
    reward.read_ahead([reference, "42"])
    with pytest.raises(ValueError, match=got):
        reward.check_row(reference, {})


@pytest.mark.parametrize("reference", ["see figure", r"\infty", r"\frac{1}{x}", "0^0", 10**400, r"\{1, 2\}", "1,234"])
def test_a_reference_that_is_unusual_is_accepted(reward, reference):
    reward.check_row(reference, {})


@pytest.mark.parametrize(
    "response",
    [
        r"\boxed{" + "{" * 1_000_000 + "}" * 1_000_000 + "}",  # each takes hours where a pair takes a scan
        r"\boxed{" + "(" * 1_000_000 + ")" * 1_000_000 + "}",
        r"\boxed{" + "1+" * 500_000 + "1}",
        r"\boxed{" + "1" * 5_001 + "}",
        r"\boxed{" * 2 + "x" * 6_000,
        r"\fbox{" + "7 " * 100_000,
    ],
    ids=lambda response: response[:12],
)
def test_an_answer_beyond_any_length_is_counted_and_not_judged(response):
    reward = MathAccuracyReward(failed_score=-0.5)
    with pytest.warns(UserWarning, match="expected an answer of at most 5000 characters, got .*counted as errors"):
        given = scores(reward, [response, r"\boxed{42}"], ["42", "42"])
    assert given == [-0.5, 1.0]
    assert reward.compute()["errors"] == 1
    assert not reward.pool.is_running


def test_an_answer_of_any_length_is_right_where_it_is_the_reference_s_text():
    text = "1+" * 50_000 + "1"
    reward = MathAccuracyReward()
    assert scores(reward, [rf"\boxed{{{text}}}"] * 2, [text, ["42", rf"\boxed{{{text}}}"]]) == [1.0, 1.0]
    assert scores(reward, ["1"], [text]) == [0.0]
    assert set(reward.compute().values()) == {0}


def test_the_check_before_training_names_the_row_of_an_unreadable_reference():
    rows = [SimpleNamespace(reference=text, columns={}, row=number) for number, text in enumerate(["42", r"\frac{1}{"])]
    (fault,) = _faulty_references("train", rows, {"accuracy": MathAccuracyReward(workers=1)})
    expected = (
        r"train data, row .*1.*: reward 'accuracy' cannot score it: the reference of MathAccuracyReward: expected"
    )
    assert re.match(expected, str(fault))


def test_references_are_read_together_and_once(reward, monkeypatch):
    asked = []
    monkeypatch.setattr(reward.pool, "map", lambda items: [asked.append(list(items)), [1.0] * len(items)][1])
    references = ["y+1", "12", "yes", ["y+2", "3"], "y+1"]
    reward.read_ahead(references)
    for reference in references:
        reward.check_row(reference, {})
    assert asked == [["y+1", "y+2"]]


def test_a_reference_whose_reading_fails_says_how(reward, monkeypatch):
    monkeypatch.setattr(
        reward.pool, "map", lambda items: [Failed("timeout", "took longer than seconds=5")] * len(items)
    )
    with pytest.raises(ValueError, match=r"got 'z\+1', whose reading took longer than seconds=5"):
        reward.check_row("z+1", {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"float_rounding": -1}, "`float_rounding` of MathAccuracyReward: expected"),
        ({"numeric_precision": 0}, "`numeric_precision` of MathAccuracyReward: expected"),
        ({"seconds": 0}, "`seconds` of MathAccuracyReward: expected a number above 0, got 0"),
        ({"memory_mb": 0}, "`memory_mb` of MathAccuracyReward: expected"),
        ({"workers": 0}, "`workers` of MathAccuracyReward: expected"),
        ({"failed_score": float("nan")}, "`failed_score` of MathAccuracyReward: expected"),
    ],
)
def test_an_option_out_of_range_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MathAccuracyReward(**options)


def test_float_rounding_says_how_many_decimals_must_agree():
    assert scores(MathAccuracyReward(), ["0.333", "0.333333"], ["1/3"] * 2) == [0.0, 1.0]
    assert scores(MathAccuracyReward(float_rounding=3), ["0.333", "0.33"], ["1/3"] * 2) == [1.0, 0.0]


def test_without_math_verify_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "math_verify", None)
    with pytest.raises(ImportError, match=r"pip install 'lightning-gft\[math\]'"):
        MathAccuracyReward()
