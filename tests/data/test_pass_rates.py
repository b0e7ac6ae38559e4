"""Rows are kept by what was sampled for them before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lightning_gft import PassRateFilter
from lightning_gft.data import GroupDataModule, RowFilter
from lightning_gft.data.columns import Row
from lightning_gft.data.loading import load_rows
from lightning_gft.stored import StoredGroup, StoredInfo, StoredResponse, write_shard

INFO = StoredInfo("tokenizer", {"accuracy": 1.0, "brief": 0.5})
ROWS = [{"prompt": f"{n}+1=", "answer": str(n + 1), "level": n} for n in range(6)]


def response(right: float | None, source: str = "self") -> StoredResponse:
    scores = {"accuracy": right, "brief": 0.0}
    return StoredResponse(source, "2", "2", [4, 2], True, 0.25 if right is None else right, scores, 0.0)


def group(row: Row, responses: list[StoredResponse], place: int) -> StoredGroup:
    return StoredGroup(0, place, str(place), row["prompt"], [1, 2], row["answer"], [], row, responses)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Pass rates of 1, 3/4, 1/4, 0 and, of one response alone, 1; nothing is known of the last row."""
    rates = [[1, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1]]
    groups = [
        group(row, [*map(response, scores), response(1, "expert"), response(0, "teacher")], place)
        for place, (row, scores) in enumerate(zip(ROWS, rates, strict=False))
    ]
    write_shard(tmp_path / "groups", groups[:2], INFO, step=0)
    write_shard(tmp_path / "groups", groups[2:], INFO, step=1)
    return str(tmp_path / "groups")


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, [1, 2, 5]),
        ({"unknown": "drop"}, [1, 2]),
        ({"least": 0.25, "most": 0.75}, [1, 2, 5]),  # the ends belong to it
        ({"least": 0.3, "unknown": "drop"}, [1]),
        ({"least": 0, "unknown": "drop"}, [1, 2, 3]),
        ({"least": 0, "most": 0, "unknown": "drop"}, [3]),
        ({"min_responses": 2, "most": 1, "unknown": "drop"}, [0, 1, 2]),
        ({"min_responses": 2}, [1, 2, 4, 5]),
        ({"source": "expert", "most": 1, "unknown": "drop"}, [0, 1, 2, 3, 4]),
        ({"reward": "brief", "least": 0, "unknown": "drop"}, [0, 1, 2, 3, 4]),
        ({"reward": "brief", "correct_reward": 0.0, "most": 1, "unknown": "drop"}, [0, 1, 2, 3, 4]),
    ],
)
def test_rows_are_kept_by_their_pass_rates(folder: str, settings: dict[str, Any], kept: list[int]):
    flags = PassRateFilter(folder, **{"reward": "accuracy", **settings}).keep(ROWS)
    assert [n for n, flag in enumerate(flags) if flag] == kept


def test_a_row_is_found_by_its_content_and_not_by_its_place(folder: str):
    reordered = [dict(reversed(row.items())) for row in reversed(ROWS)]
    flags = PassRateFilter(folder, unknown="drop").keep([{"prompt": "new", "answer": "1", "level": 0}, *reordered])
    assert flags == [False, *[row["level"] in (1, 2) for row in reordered]]
    changed = [{**row, "level": str(row["level"])} for row in ROWS]  # another value, though it looks the same
    with pytest.raises(ValueError, match=r"`groups` of PassRateFilter: expected self responses to rows of these data"):
        PassRateFilter(folder).keep(changed)


def test_a_response_without_the_reward_does_not_count_and_rows_that_are_there_twice_are_one(tmp_path: Path):
    row = ROWS[0]
    groups = [group(row, [response(1), response(None)], 0), group(dict(row), [response(0), response(None)], 1)]
    write_shard(tmp_path, groups, INFO)
    keep = PassRateFilter(str(tmp_path), "accuracy", least=0.5, most=0.5, min_responses=2, unknown="drop")
    assert keep.keep([row, row]) == [True, True]
    with pytest.raises(ValueError, match=r"expected rows to train on, got 0 of 1 .* 1 unknown \(dropped\); widen"):
        PassRateFilter(str(tmp_path), "accuracy", min_responses=3, unknown="drop").keep([row])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"least": 0.9, "most": 0.1}, r"`most` of PassRateFilter: expected a number from 0.9 to 1, got 0.1"),
        ({"least": -1}, r"`least` of PassRateFilter: expected a number from 0 to 1, got -1"),
        ({"unknown": "both"}, r"`unknown` of PassRateFilter: expected keep or drop, got 'both'"),
        ({"source": "own"}, r"`source` of PassRateFilter: expected self, teacher or expert, got 'own'"),
        ({"min_responses": 0}, r"`min_responses` of PassRateFilter: expected a whole number of at least 1"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        PassRateFilter("groups", **settings)


def test_what_is_wrong_with_the_groups_is_said(folder: str, tmp_path: Path):
    with pytest.raises(ValueError, match=r"expected one of those in .*groups, accuracy, brief, got 'accuracies'; did"):
        PassRateFilter(folder, "accuracies").keep(ROWS)
    with pytest.raises(
        ValueError, match=r"expected a folder that `lightning-gft predict` has written, got one that does not"
    ):
        PassRateFilter(str(tmp_path / "nothing")).keep(ROWS)


class OddLevels(RowFilter):
    def keep(self, rows: Sequence[Row]) -> list[bool]:
        return [row["level"] % 2 == 1 for row in rows]


def data_module(tmp_path: Path, tokenizer: Any, keep: RowFilter, **settings: Any) -> GroupDataModule:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    data = GroupDataModule(str(path), keep=keep, **settings)
    data.tokenizer = tokenizer
    return data


def test_a_datamodule_trains_on_the_rows_that_are_kept_and_says_so(
    folder: str, tmp_path: Path, tokenizer: Any, caplog: pytest.LogCaptureFixture
):
    data = data_module(tmp_path, tokenizer, PassRateFilter(folder, "accuracy"))
    with caplog.at_level("INFO"):
        data.setup("fit")
    assert [example.row for example in data.examples["train"][""]] == [1, 2, 5]
    assert (
        f"train data: 3 of 6 rows kept by their pass rates in {folder}: 2 too easy (above 0.9), 1 too hard (below "
        "0.1), 1 unknown (kept)"
    ) in caplog.text


def test_other_splits_stay_whole_and_errors_name_rows_of_the_data(tmp_path: Path, tokenizer: Any):
    data = data_module(tmp_path, tokenizer, OddLevels(), val_split="train", max_prompt_length=3)
    with pytest.raises(ValueError, match=r"train data: row 1 \(counting from 0\), column 'prompt': .* 4 tokens"):
        data.setup("fit")
    data = data_module(tmp_path, tokenizer, OddLevels(), val_split="train", train_split="train[2:]")
    with pytest.warns(UserWarning, match="also training rows"):
        data.setup("fit")
    assert [example.row for example in data.examples["train"][""]] == [3, 5]
    assert len(data.examples["val"][""]) == 6


def test_stored_groups_are_filtered_by_themselves(folder: str, tokenizer: Any):
    data = GroupDataModule(folder, keep=PassRateFilter(folder, "accuracy", unknown="drop"))
    data.tokenizer = tokenizer
    data.setup("fit")
    examples = data.examples["train"][""]
    assert [example.columns["level"] for example in examples] == [1, 2]
    assert all(len(example.stored["self"]) == 4 for example in examples)


def test_something_else_is_no_filter(tmp_path: Path, tokenizer: Any):
    with pytest.raises(TypeError, match=r"`keep`: expected a RowFilter, got 'groups'; give one such as PassRateFilter"):
        data_module(tmp_path, tokenizer, "groups")  # type: ignore[arg-type]


def test_rows_that_differ_in_their_columns_are_told_so(folder: str):
    changed = [{"prompt": row["prompt"], "answer": row["answer"], "hint": 1} for row in ROWS]
    with pytest.raises(
        ValueError, match=r"with the columns of the groups in .*, got rows with hint more and without le"
    ):
        PassRateFilter(folder).keep(changed)


@pytest.mark.parametrize("near", ["", "groups/groups-000000-000.parquet", "groups/*.parquet"])
def test_a_path_near_a_folder_of_groups_is_answered_with_the_folder(near: str, folder: str):
    assert len(load_rows(folder)) == 5
    with pytest.raises(ValueError, match=f"expected data, got .*groups.*; give .*{folder}$"):
        load_rows(Path(folder).parent / near)
