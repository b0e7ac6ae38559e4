"""Files of a run's record: bins of histograms, and rows that are appended, read and dropped."""

from __future__ import annotations

import json
import math
import random
import re
from itertools import pairwise

import pytest

from lightning_gft import record
from lightning_gft.errors import GFTValueError


def test_bins_follow_on_one_another():
    numbers = range(record.BELOW, record.ABOVE + 1)
    edges = [record.bin_edges(number) for number in numbers]
    assert edges[0][0] == 0.0
    assert edges[-1][1] == math.inf
    for (_, high), (low, _) in pairwise(edges):
        assert high == low
    assert record.bin_edges(record.ZERO) == (0.0, 0.0)
    for number, (low, high) in zip(numbers, edges, strict=True):
        middle = record.bin_middle(number)
        assert low <= middle <= high
        if record.BELOW < number < record.ABOVE:
            assert max(high / middle, middle / low) < 1.045


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99, 1.0])
def test_a_quantile_is_within_five_percent(share: float):
    draw = random.Random(0)
    values = sorted(math.exp(draw.gauss(1.0, 2.0)) for _ in range(1000))
    edges = [(number, *record.bin_edges(number)) for number in range(record.LOWEST, record.HIGHEST + 1)]
    counts = {number: sum(low <= value < high for value in values) for number, low, high in edges}
    exact = values[math.ceil(share * len(values)) - 1]
    assert record.quantile(counts, share) == pytest.approx(exact, rel=0.045)


def test_quantiles_of_zeros_and_of_nothing():
    assert record.quantile({record.ZERO: 99, 8: 1}, 0.99) == 0.0
    assert record.quantile({record.ABOVE: 1}, 0.99) > record.bin_edges(record.ABOVE)[0]
    with pytest.raises(GFTValueError, match="expected a histogram with values"):
        record.quantile({0: 0}, 0.5)


def test_rows_are_read_while_another_is_being_written(tmp_path):
    path = tmp_path / "folder" / record.ADVICE
    assert record.read_rows(path) == ([], None)
    rows = [{"step": step, "text": f"a\nb \u2028 {step}"} for step in range(3)]
    for row in rows:
        record.append_row(path, row)
    with path.open("a") as file:
        file.write('{"step": 3, "te')
    assert record.read_rows(path) == (rows, None)


def test_rows_after_a_step_are_dropped_with_a_line_that_was_never_finished(tmp_path):
    path = tmp_path / record.WEIGHTS
    record.drop_rows_after(path, 0)
    assert not path.exists()
    for step in (2, 4, 4, 6):
        record.append_row(path, {"step": step})
    with path.open("a") as file:
        file.write('{"st')
    record.drop_rows_after(path, 4)
    record.append_row(path, {"step": 5})
    assert [row["step"] for row in record.read_rows(path)[0]] == [2, 4, 4, 5]
    assert [file.name for file in tmp_path.iterdir()] == [record.WEIGHTS]


@pytest.mark.parametrize("line", ["no JSON", "[1]", '{"text": "no step"}'])
def test_a_line_that_is_no_row_is_named(tmp_path, line: str):
    path = tmp_path / record.WEIGHTS
    path.write_text(json.dumps({"step": 1}) + f"\n{line}\n")
    fault = "expected JSON with a step in line 2, got '.*'"
    rows, found = record.read_rows(path)
    assert rows == [{"step": 1}]
    assert re.fullmatch(fault, str(found))
    assert re.fullmatch(f"`.*weights.jsonl`: {fault}", str(record.drop_rows_after(path, 1)))
    assert record.read_rows(path) == ([{"step": 1}], None)
