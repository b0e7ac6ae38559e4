from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyarrow import Table, parquet
from reasoning_gym import create_dataset

from lightning_gft.gym.entries import GymEntry, read_entry

TYPES = {
    "tuple": (1, (2, "three")),
    "keys": {1: "one", (2, 3): [4, {5: 6}]},
    "none": None,
    "text": "\ud7ffé\n",
    "n": 1.5,
}


def test_an_entry_keeps_its_types() -> None:
    entry = GymEntry("chain_sum", {"max_terms": 3}, {"question": "?", "metadata": TYPES}, {"own": 1.0})
    assert read_entry(entry.write()) == entry
    assert read_entry(json.loads(json.dumps(entry.write()))) == entry


def test_an_entry_goes_through_parquet(tmp_path: Path) -> None:
    # Plain JSON makes lists of the tuples in its metadata, and the scorer then rejects its own answer.
    dataset = create_dataset("rearc", seed=3, size=2)
    entry = GymEntry("rearc", {}, dataset[0])
    parquet.write_table(Table.from_pylist([{"entry": entry.write()}]), tmp_path / "rows.parquet")
    (row,) = parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    back = read_entry(row["entry"]).entry
    assert dataset.score_answer(back["answer"], back) == 1
    plain = json.loads(json.dumps(dict(entry.entry)))
    assert dataset.score_answer(plain["answer"], plain) < 1


@pytest.mark.parametrize("text", [None, "", "5", "[]", "{}", '{"task": "chain_sum"}', 7, {"task": "chain_sum"}])
def test_what_is_no_entry_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="the column 'entry': expected an entry as ReasoningGymDataModule writes it"):
        read_entry(text)
