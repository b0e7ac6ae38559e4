"""What stands in a file is what the rows hold, whatever stands beside it and wherever a reader's blocks end."""

from __future__ import annotations

import datetime
import io
import json
import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from pyarrow import parquet

from lightning_gft.data import load_rows
from lightning_gft.data.columns import Columns
from lightning_gft.data.json_rows import read_json

TEXTS = [
    "007",
    "1e5",
    "null",
    "true",
    "0.50",
    "NaN",
    "2024-01-31",
    "2024-02-01T10:00:00",
    "",
    " 7 ",
    "\u2028\x85\x0b",
    "é",
]
MIXED = [*TEXTS, 8, 0.5, True, None, [], {}, ["007", 7, None], {"a": "007"}, {"b": 7}, 123456789012345678901, -0.0]


def _jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8", newline="")
    return path


def _json(path: Path, rows: list[dict[str, Any]]) -> Path:
    path = path.with_suffix(".json")
    path.write_text(json.dumps(rows, indent=1))
    return path


def _folder(path: Path, rows: list[dict[str, Any]]) -> Path:
    return _jsonl(path, rows).parent


def _glob(path: Path, rows: list[dict[str, Any]]) -> Path:
    _jsonl(path.with_name("a.jsonl"), rows[:5])
    _jsonl(path.with_name("b.jsonl"), rows[5:])
    return path.with_name("*.jsonl")


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are equal and of the same types, which ``1 == True == 1.0`` does not tell."""
    return repr(one) == repr(other)


@pytest.mark.parametrize("write", [_jsonl, _json, _folder, _glob])
def test_json_values_stay_what_they_are(write: Callable[..., Path], tmp_path: Path) -> None:
    rows = [{"answer": value, "meta": {"id": value, "of": [value]}} for value in MIXED]
    assert _same(list(load_rows(write(tmp_path / "rows.jsonl", rows))), rows)


def test_one_number_among_many_texts_changes_none(tmp_path: Path) -> None:
    rows = [{"answer": f"{number:09}"} for number in range(20_000)]  # several blocks of any reader
    rows[11_111] = {"answer": 7}
    assert list(load_rows(_jsonl(tmp_path / "rows.jsonl", rows))) == rows


def test_keys_that_a_nested_object_lacks_stay_away_and_columns_are_filled(tmp_path: Path) -> None:
    rows = [{"a": {"x": 1}}, {"b": None, "a": {"y": "1"}}, {"a": None}]
    assert list(load_rows(_jsonl(tmp_path / "rows.jsonl", rows))) == [
        {"a": {"x": 1}, "b": None},
        {"a": {"y": "1"}, "b": None},
        {"a": None, "b": None},
    ]


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("0.50", 0.5),
        ("1E5", 100000.0),
        ("0.1", 0.1),
        ("0.30000000000000004", 0.1 + 0.2),
        ("0.10000000000000001", 0.1),
        ("0.1000000000000000055511151231257827021181583404541015625", 0.1),
        ("3.14159265358979323846", Decimal("3.14159265358979323846")),
        ("1e400", Decimal("1e400")),
        ("1e-400", Decimal("1e-400")),
        ("-123456789012345678901", -123456789012345678901),
        ("Infinity", math.inf),
        ("NaN", math.nan),
    ],
)
def test_numbers_keep_their_digits(literal: str, value: object, tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(f'[{{"answer": {literal}}}]')
    [row] = load_rows(tmp_path / "rows.json")
    assert _same(row["answer"], value)


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
@pytest.mark.parametrize(
    "text",
    [
        '\ufeff{"a": "1"}\r\n\r\n \n{"a": 2}\r\n',
        '{"a": "1"} {"a": 2}',
        '{\n "a": "1"\n}\n{\n "a": 2\n}\n',
        '[{"a": "1"},\n{"a": 2}]',
        '\ufeff\n[\n{"a": "1"}, {"a": 2}]\n\n',
    ],
)
def test_layouts_of_json(text: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert list(load_rows(tmp_path / name)) == [{"a": "1"}, {"a": 2}]


def test_cells_of_tables_are_texts(tmp_path: Path) -> None:
    texts = [text for text in TEXTS if text] + ["NA", "1,5", 'a "b"', "x\r\ny", "long" * 50_000]
    lines = [f'"{text.replace(chr(34), chr(34) * 2)}",1' for text in texts]
    for name, delimiter in (("rows.csv", ","), ("rows.tsv", "\t")):
        table = "\r\n".join(line[:-2] + delimiter + "1" for line in lines)
        (tmp_path / name).write_bytes(f"answer{delimiter}one\r\n{table}\r\n{delimiter}2".encode())
        rows = list(load_rows(tmp_path / name))
        assert rows == [{"answer": text, "one": "1"} for text in texts] + [{"answer": None, "one": "2"}]


ARROW = [
    (pyarrow.array([Decimal("0.50")], pyarrow.decimal128(20, 2)), Decimal("0.50")),
    (pyarrow.array([datetime.datetime(2024, 1, 31, 1, 2, 3, 456789)]), datetime.datetime(2024, 1, 31, 1, 2, 3, 456789)),
    (pyarrow.array([datetime.date(2024, 1, 31)]), datetime.date(2024, 1, 31)),
    (pyarrow.array([b"\xff\x00"]), b"\xff\x00"),
    (pyarrow.array(["007"]).dictionary_encode(), "007"),
    (pyarrow.array(["007"], pyarrow.large_string()), "007"),
    (pyarrow.array([["007", None]], pyarrow.large_list(pyarrow.string())), ["007", None]),
    (pyarrow.array([{"a": "null", "b": None}]), {"a": "null", "b": None}),
    (pyarrow.array([2**64 - 1], pyarrow.uint64()), 2**64 - 1),
    (pyarrow.array([[("k", 1)]], pyarrow.map_(pyarrow.string(), pyarrow.int64())), [("k", 1)]),
]


@pytest.mark.parametrize(("column", "value"), ARROW, ids=lambda part: str(getattr(part, "type", "")))
def test_parquet_columns_of_every_type(column: pyarrow.Array, value: object, tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"answer": column}), tmp_path / "rows.parquet")
    for path in (tmp_path / "rows.parquet", tmp_path):
        [row] = load_rows(path)
        assert _same(row["answer"], value)


def test_columns_that_the_library_stores_as_json(tmp_path: Path) -> None:
    rows = [{"answer": 123456789012345678901, "meta": [{"a": "x"}]}, {"answer": {"b": 0.1}, "meta": [{"b": 1}]}]
    stored = datasets.Dataset.from_list(rows, on_mixed_types="use_json")
    stored.to_parquet(tmp_path / "rows.parquet")
    stored.save_to_disk(tmp_path / "saved")
    for path in (tmp_path / "rows.parquet", tmp_path / "saved"):
        assert list(load_rows(path)) == rows


def test_parquet_files_with_different_columns_are_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        parquet.write_table(pyarrow.table({name: [1]}), tmp_path / f"{name}.parquet")
    with pytest.raises(ValueError, match=r"b\.parquet: expected the columns of a\.parquet, 'a', got 'b'"):
        load_rows(tmp_path / "*.parquet")


def test_a_document_is_searched_for_halves_of_pairs_once() -> None:
    searches = []

    class Text(bytes):
        def __contains__(self, part: object) -> bool:
            searches.append(part)
            return super().__contains__(part)

    class File(io.BytesIO):
        def read(self, *size: int) -> bytes:
            return Text(super().read(*size))

    text = b"[\n" + b",\n".join([b'{"n": 1}'] * 100) + b"\n]"
    assert read_json(File(text), "rows.json") == [{"n": 1}] * 100
    assert len(searches) <= 2  # once for each way to write one


def test_nulls_of_json_stay_and_those_with_which_parquet_pads_do_not(tmp_path: Path) -> None:
    call = {"id": "1", "function": {"name": "find", "arguments": {"limit": None, "text": "a"}}}
    tool = {"name": "find", "parameters": {"limit": {"default": None}}}
    rows = [
        {"prompt": [{"role": "user", "content": "a"}], "tools": [tool], "expert": None},
        {
            "prompt": [{"role": "assistant", "content": "b", "tool_calls": [call]}],
            "tools": [{"name": "add", "strict": True}],
            "expert": None,
        },
    ]
    columns = Columns(answer_column=None)
    first, second = columns.read(list(load_rows(_jsonl(tmp_path / "rows.jsonl", rows))))
    assert first.variables == {"tools": [tool]}
    assert second.prompt == rows[1]["prompt"]

    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "rows.parquet")
    first, second = columns.read(list(load_rows(tmp_path / "rows.parquet")))
    assert second.variables == {"tools": [{"name": "add", "strict": True}]}
    assert "strict" not in first.variables["tools"][0]


def test_iteration_reads_a_row_group_once_and_files_are_open_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        parquet.write_table(pyarrow.table({"n": range(10)}), tmp_path / f"{number:02}.parquet")
    opened = []
    whole = parquet.ParquetFile.read_row_group
    monkeypatch.setattr(
        parquet.ParquetFile, "read_row_group", lambda file, group: opened.append(file) or whole(file, group)
    )
    rows = load_rows(str(tmp_path / "*.parquet"))
    assert [row["n"] for row in rows] == list(range(10)) * 30
    assert len(opened) == 30
    assert all(file.closed if hasattr(file, "closed") else file.reader.closed for file in opened)
