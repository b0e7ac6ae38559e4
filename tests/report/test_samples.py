"""Kept groups in a page, as text: how tokens are packed, and how much of them there is room for."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from lightning_gft.record import SAMPLES
from lightning_gft.report.packing import pack
from lightning_gft.report.runs import Part, Run
from lightning_gft.report.samples import MOST_BYTES, MOST_GROUPS, fitting, samples_section, side_by_side
from lightning_gft.report.text import json_block
from lightning_gft.samples import SampledResponse, TokenFigures
from tests.report.written import group, response, run, trained, write_groups


def packed(of: SampledResponse, limit: int = 1000):
    assert of.trained is not None
    text, columns, rectified = pack(of, of.trained, limit)
    return text, json.loads(json_block(columns)), rectified


def texts(text: str, columns: dict) -> list[str]:
    """Return the tokens as a browser cuts them out of the text, by units of UTF-16."""
    units = text.encode("utf-16-le")
    lengths = columns["length"]
    lengths = lengths if isinstance(lengths, list) else [lengths] * columns["tokens"]
    ends = [sum(lengths[: place + 1]) for place in range(len(lengths))]
    return [units[2 * (end - length) : 2 * end].decode("utf-16-le") for end, length in zip(ends, lengths, strict=True)]


def test_tokens_are_cut_out_of_the_text_as_they_were():
    tokens = ["a", "", "👩\u200d🔬", " ", "\n", "\u202e", "é"]
    text, columns, _ = packed(trained(tokens, [0.5] * 7))
    assert texts(text, columns) == [*tokens[:5], "[U+202E]", "é"]


def test_figures_keep_three_digits():
    probabilities = [0.999, 0.7123, 0.0123456, 1.2e-9]
    _, columns, rectified = packed(trained(list("abcd"), probabilities, advantage=-1.23456))
    back = [math.exp(-nll / 1000) for nll in columns["nll"]]
    assert back == pytest.approx(probabilities, rel=2e-3)
    assert columns["factor"] == [1, 1, 0.01235, 1.2e-9]
    assert (columns["scale"], columns["coefficient"], columns["entropy"], rectified) == (-1.235, None, 25, 2)


def test_coefficients_that_do_not_follow_from_factors_are_kept():
    figures = TokenFigures(["a", "b"], [-1.0, -2.0], [0.5, -0.25], [1.0, math.nan], [math.nan, 0.5])
    text, columns, rectified = packed(replace(trained(["a", "b"], [0.5, 0.5]), trained=figures))
    assert text == "ab"
    assert columns["coefficient"] == [0.5, -0.25]
    assert columns["scale"] is None
    assert (columns["factor"], columns["entropy"], rectified) == ([1, None], [None, 50], 0)


def test_a_factor_that_is_nearly_one_is_not_one():
    factors = [1.0, 1.0000001192092896, 0.99999]
    figures = TokenFigures(list("abc"), [-0.1] * 3, factors, factors)
    _, columns, rectified = packed(replace(trained(list("abc"), [0.9] * 3), trained=figures))
    assert [factor == 1 for factor in columns["factor"]] == [True, False, False]
    assert rectified == 2


def test_long_responses_say_how_much_is_shown():
    text, columns, rectified = packed(trained(["word "] * 100, [0.5] * 100), limit=50)
    assert text == "word " * 10 + "… (100 tokens, 10 shown)"
    assert (columns["tokens"], rectified) == (10, 100)
    text, _, _ = packed(trained(["a" * 10**6], [0.5]))
    assert text == "a" * 200 + "… (1,000,000 characters, 200 shown)"


@pytest.mark.slow
@pytest.mark.parametrize("tokens", ["中文字", "<>&\"'", ["\u202e"], [" word"]])
def test_samples_stay_small_whatever_the_tokens_are(tmp_path: Path, tokens):
    each = [trained(list(tokens) * 150, [0.31 + 0.001 * (n % 600) for n in range(150 * len(tokens))])] * 8
    page = samples_section([run("gft", tmp_path, [group(*each, step=step) for step in range(100)])])
    assert len(page.encode()) < MOST_BYTES + 100_000
    assert page.count("<details") > 20


def test_few_groups_are_shown_in_length():
    every = side_by_side([[group(response("x" * 10**6), step=step) for step in range(4)]])
    entries, items = fitting(every, ["gft"])
    assert list(entries) == list(every)
    assert all("(1,000,000 characters, 20,000 shown)" in item for item in items)


def test_of_many_groups_some_are_shown_evenly(tmp_path: Path):
    groups = [group(response(), group=number) for number in range(MOST_GROUPS + 100)]
    page = samples_section([run("gft", tmp_path, groups)])
    assert page.count("<details") == MOST_GROUPS
    assert "500 of 600 kept groups" in page
    assert "group 0<" in page
    assert "group 599<" in page


def test_what_a_later_start_trained_anew_counts_once(tmp_path: Path):
    first = write_groups(tmp_path / "0", [group(response("old"), step=step) for step in (10, 20, 30)])
    second = write_groups(tmp_path / "1", [group(response("new"), step=step) for step in (20, 30)])
    page = samples_section([Run("gft", (Part(first, until=20), Part(second)), {})])
    assert re.findall(r">(old|new)<", page) == ["old", "new", "new"]


def test_runs_that_kept_nothing_have_no_section(tmp_path: Path):
    assert samples_section([run("gft", tmp_path)]) == ""


def test_parts_of_the_reward_stand_with_their_weights(tmp_path: Path):
    kept = response(rewards={"exact": 1.0, "format": 0.5, "length": None}, reward=1.1, finish_reason="length")
    page = samples_section(
        [run("gft", tmp_path, [group(kept, weights={"exact": 1.0, "format": 0.2, "length": 3.0}, size=1)])]
    )
    shown = re.sub("<[^>]*>", "", page)
    assert "reward 1.10 (exact 1.00, format 0.50 &times; 0.2, length &ndash;)" in shown
    assert "2 tokens, truncated, no gradient" in shown
    assert "responses kept" not in shown


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[:200], lambda whole: whole.replace(b"PLAIN TEXT", b"PLAIN \xff\xff\xff\xff")]
)
def test_a_damaged_file_is_left_out_and_named(tmp_path: Path, damage):
    kept = [run("gft", tmp_path, [group(response("PLAIN TEXT"))])]
    (file,) = (tmp_path / SAMPLES).iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert samples_section(kept) == ""
    (fault,) = kept[0].faults.by_kind.values()
    assert (fault.path, fault.place) == (file, f"{SAMPLES}/{file.name}")
