from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

from lightning_gft.data import load_rows
from lightning_gft.data.loading import _named
from lightning_gft.errors import GFTValueError

ROWS = [
    {"prompt": "1+1=", "answer": "007", "expert": 'so, "2"\nthen'},
    {"prompt": "2+2=", "answer": "NA", "expert": None},
]


def _write_json(folder: Path) -> Path:
    path = folder / "rows.json"
    path.write_text(json.dumps(ROWS))
    return path


def _write_jsonl(folder: Path) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def _write_csv(folder: Path) -> Path:
    path = folder / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ROWS[0].keys())
        writer.writeheader()
        writer.writerows(ROWS)
    return path


def _write_parquet(folder: Path) -> Path:
    path = folder / "rows.parquet"
    datasets.Dataset.from_list(ROWS).to_parquet(path)
    return path


def _save_to_disk(folder: Path) -> Path:
    datasets.Dataset.from_list(ROWS).save_to_disk(folder / "saved")
    return folder / "saved"


def _save_dict_to_disk(folder: Path) -> Path:
    datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}).save_to_disk(folder / "saved")
    return folder / "saved"


def _folder(folder: Path) -> Path:
    return _write_csv(folder).parent


def _glob(folder: Path) -> Path:
    return _write_jsonl(folder).parent / "*.jsonl"


@pytest.mark.parametrize(
    "write",
    [_write_json, _write_jsonl, _write_csv, _write_parquet, _save_to_disk, _save_dict_to_disk, _folder, _glob],
)
@pytest.mark.parametrize("split", ["train", None])
def test_every_kind_loads_to_the_same_rows(write: Callable[[Path], Path], split: str | None, tmp_path: Path) -> None:
    assert list(load_rows(str(write(tmp_path)), split=split)) == ROWS


def test_glob_joins_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"prompt": name}))
    assert [row["prompt"] for row in load_rows(str(tmp_path / "?.jsonl"))] == ["a", "b"]


def test_folder_takes_splits_from_the_files_names(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / f"{name}-00000.jsonl").write_text(json.dumps({"prompt": name}))
    assert [row["prompt"] for row in load_rows(str(tmp_path), split="test")] == ["test"]
    with pytest.raises(ValueError, match=r"got 'train', 'test'; choose one with `val_split`"):
        load_rows(str(tmp_path), split_field="val_split")


@pytest.mark.parametrize("path", ["nowhere/at/all", "/nowhere", "./nowhere", "nowhere.parquet"])
def test_missing_path_is_named_with_what_is_read(path: str) -> None:
    with pytest.raises(
        FileNotFoundError, match=rf"`val_path` \('{path}'\): .* does not exist.*\.jsonl, .*\.tsv or \.parquet file"
    ):
        load_rows(path, path_field="val_path")


def test_missing_path_that_is_close_to_another_has_that_as_its_only_remedy(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}")
    with pytest.raises(FileNotFoundError) as raised:
        load_rows(str(tmp_path / "row.jsonl"))
    assert str(raised.value) == (
        f"`path` ('{tmp_path}/row.jsonl'): expected a path that exists, got one that does not exist; did you mean "
        f"{tmp_path}/rows.jsonl?"
    )


def test_glob_without_match_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"`path` \('.*\*\.json'\): expected files that match it, got none"):
        load_rows(str(tmp_path / "*.json"))


def test_folder_without_data_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(FileNotFoundError, match=r"expected a folder with data files, got one without.*save_to_disk"):
        load_rows(str(tmp_path))


def test_unknown_kind_of_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_text("nothing")
    with pytest.raises(ValueError, match=r"got the suffix \.txt; give .*\.parquet"):
        load_rows(str(path))


def test_unknown_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"`test_split` \('test'\): expected a split of `path` \('.*rows\.csv'\), 'train'"
    ):
        load_rows(str(_write_csv(tmp_path)), split="test", split_field="test_split")


def test_configuration_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`name`: expected none for files, got 'main'"):
        load_rows(str(_write_csv(tmp_path)), name="main")


def test_empty_data_set_is_named(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).filter(lambda row: False).save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match=r"`path` \('.*saved'\): expected rows, got none in split='train'"):
        load_rows(str(tmp_path / "saved"), split="train")


PARQUET = "expected a complete Parquet file"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("rows.json", "[]", "expected rows, got none"),
        ("rows.json", " \n", "expected rows, got none"),
        (
            "rows.json",
            '[{"prompt": 1},\n {"prompt": 2\n]',
            r"line 2 of rows\.json: .*: 2' .*; correct or remove the line",
        ),
        (
            "rows.json",
            '{"prompt": 1}\n{"prompt": [}\n',
            r"line 2 of rows\.json: expected one JSON object per line.*Expecting value",
        ),
        ("rows.jsonl", '{"prompt": 1\n{"prompt": 2}\n', r"line 1 of rows\.jsonl: .*: 1' .*Expecting ',' delimiter"),
        (
            "rows.jsonl",
            '{"prompt": 1}\n{"prompt":\n{"prompt": 3}\n{"prompt": 4}\n',
            r"line 2 of rows\.jsonl: expected one JSON object per line.*, got '{\"prompt\":' \(Expecting value\)",
        ),
        ("rows.jsonl", '{"prompt": 1, "more": [\n{"prompt": 2}\n', r"line 1 of rows\.jsonl: .*\[' \(Expecting value"),
        ("rows.json", '{"prompt": 1}\r\n{"prompt":\r\n{"prompt": 3}\r\n', r"line 2 of rows\.json: .*Expecting value"),
        ("rows.jsonl", '{"a": 1}\n{"a":\n{"a":\n{"a": 4}\n', r"line 2 of rows\.jsonl: .*Expecting value"),
        (
            "rows.json",
            '{\n "prompt": 1,\n "more": [\n  {"a": 1}\n ]\n "level": 3\n}\n',
            r"line 5 of rows\.json: .* ]' \(Expecting ',' delimiter\)",
        ),
        ("rows.json", '[\n{"prompt": 1},\n{"prompt": 2}\n{"prompt": 3}\n]', r"line 3 of rows\.json: .*2}' \(Expecting"),
        ("rows.jsonl", "", r"rows\.jsonl: .*empty file"),
        ("rows.jsonl", "\n\n", "expected rows, got none"),
        (
            "rows.jsonl",
            '{"prompt": 1}\n{"prompt": [}\n',
            r"line 2 of rows\.jsonl: .*\[}.*correct or remove the line",
        ),
        ("rows.jsonl", '{"prompt": 1}\n\n{"prompt": "a', r"line 3 of rows\.jsonl: .*Unterminated string"),
        ("rows.jsonl", "1\n2\n", r"line 1 of rows\.jsonl: expected an object like .*got 1"),
        (
            "rows.jsonl",
            '{"prompt": "a"}\n{"prompt": "caf\u00e9"}'.encode("latin1"),
            r"line 2 of rows\.jsonl: expected UTF-8 text, got .*save the file as UTF-8",
        ),
        ("rows.csv", "", r"rows\.csv: .*empty file"),
        ("rows.csv", "\n\n", r"rows\.csv: expected a first line with the names of the columns"),
        ("rows.csv", "prompt,answer\n", "expected rows, got none"),
        ("rows.csv", "prompt,prompt\na,b\n", "rows.csv: .*'prompt' more than once in the header"),
        ("rows.csv", ",prompt\n0,a\n", "rows.csv: .*none for column 1 in the header.*index=False"),
        ("rows.csv", "prompt,answer\na,1\nb,2,3\n", "line 3 of rows.csv: expected 2 cells.*got 3: 'b,2,3'"),
        ("rows.csv", "prompt,answer\na,1,x\nb,2,3\n", "line 2 of rows.csv: expected 2 cells.*got 3"),
        ("rows.csv", 'prompt,answer\n"a\nb",1\nc\n', "line 4 of rows.csv: expected 2 cells.*got 1"),
        ("rows.csv", "prompt\n\u00e9\n".encode("latin1"), "line 2 of rows.csv: expected UTF-8"),
        ("rows.csv", "pr\u00f6mpt\na\n".encode("latin1"), "line 1 of rows.csv: expected UTF-8"),
        ("rows.parquet", "not parquet", PARQUET),
        ("rows.parquet", "", r"rows\.parquet: .*empty file"),
        ("rows.jsonl", "\ufeff".encode("utf-16"), "rows.jsonl: expected UTF-8 text, got UTF-16"),
        ("rows.csv", "prompt\na\n".encode("utf-16"), "rows.csv: expected UTF-8 text, got UTF-16"),
        ("rows.csv", 'prompt,answer\n"a,1\nb,2\n', "line 2 of rows.csv: .*cannot be split.*quotation mark"),
        ("rows.jsonl", '{"prompt": "a"}\n["b"]\n', "line 2 of rows.jsonl: expected an object"),
        ("rows.json", '["a", "b"]', r"row 0 \(counting from 0\) of rows.json: expected an object"),
        ("rows.jsonl", '{"prompt": "a", "prompt": "b"}', "rows.jsonl: .*the key 'prompt' twice"),
        ("rows.jsonl", '{"prompt": "a"}\n{"b": ' + "[" * 5000 + "]" * 5000 + "}", "line 2 .*nested too deeply"),
        ("rows.json", "[" * 5000 + "]" * 5000, "rows.json: .*nested too deeply"),
        ("rows.jsonl", '{"prompt": "a"}\n{"b": ' + "7" * 5000 + "}", r"line 2 .*Exceeds the limit \(4300 digits\)"),
        ("rows.jsonl", '{"prompt": "\\ud800"}', "line 1 of rows.jsonl: expected text, got half of a surrogate pair"),
        (
            "rows.jsonl.gz",
            b"\x1f\x8b\x08",
            "rows.jsonl.gz: .*got one that cannot be read .*ended before",
        ),
        ("rows.jsonl.gz", b"no", "rows.jsonl.gz: .*compressed"),
    ],
)
def test_empty_or_broken_file_is_named_with_its_line(
    name: str, content: str | bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=rf"`path` \('.*{name}'\): ") as caught:
        load_rows(str(tmp_path / name))
    assert re.search(words, str(caught.value))
    assert isinstance(caught.value, GFTValueError)


def test_truncated_parquet_is_found_among_others(tmp_path: Path) -> None:
    whole = _write_parquet(tmp_path)
    (tmp_path / "second.parquet").write_bytes(whole.read_bytes()[:-30])
    with pytest.raises(ValueError, match=rf"second\.parquet: {PARQUET}"):
        load_rows(str(tmp_path / "*.parquet"))


@pytest.mark.parametrize("pattern", ["", "*"])
def test_files_of_different_kinds_are_counted(tmp_path: Path, pattern: str) -> None:
    _write_csv(tmp_path)
    _write_jsonl(tmp_path)
    with pytest.raises(ValueError, match=r"one format, got 1 \.csv, 1 \.jsonl; .*glob, as in '.*\*\.csv'"):
        load_rows(str(tmp_path / pattern))


def test_what_describes_a_folder_is_no_data(tmp_path: Path) -> None:
    _write_parquet(tmp_path)
    (tmp_path / "dataset_infos.json").write_text("{}")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "download.json").write_text("{}")
    assert list(load_rows(str(tmp_path))) == ROWS


def test_tables_with_different_columns_are_named(tmp_path: Path) -> None:
    for name, header in (("a", "prompt,answer"), ("b", "prompt,level")):
        (tmp_path / f"{name}.csv").write_text(f"{header}\n1,2\n")
    with pytest.raises(
        ValueError, match=r"b\.csv: expected the columns of a\.csv, 'prompt', 'answer', got 'prompt', 'level'"
    ):
        load_rows(str(tmp_path))


def test_mark_that_excel_writes_is_no_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("prompt\na\n", encoding="utf-8-sig")
    assert list(load_rows(str(tmp_path / "rows.csv"))) == [{"prompt": "a"}]


def test_saved_folder_that_is_not_whole_is_named(tmp_path: Path) -> None:
    saved = _save_to_disk(tmp_path)
    (saved / "dataset_info.json").unlink()
    with pytest.raises(ValueError, match=r"`path` \('.*saved'\): expected a complete folder of `save_to_disk`"):
        load_rows(str(saved))


def test_a_folder_of_csv_and_tsv_files_is_read_each_by_its_own_separator(tmp_path: Path) -> None:
    (tmp_path / "train-1.csv").write_text("prompt,answer\na\tb,1\n")
    for name in ("train-2.tsv", "train-3.tsv"):  # as many of each, and then more of one
        (tmp_path / name).write_text("prompt\tanswer\na,b\t1\n")
        rows = list(load_rows(tmp_path))
        assert rows[0] == {"prompt": "a\tb", "answer": "1"}
        assert all(row == {"prompt": "a,b", "answer": "1"} for row in rows[1:])


@pytest.mark.parametrize("error", [ValueError("it is bad"), PermissionError(13, "denied"), OSError("odd")])
def test_an_error_of_reading_keeps_its_class_and_is_not_its_own_cause(error: Exception) -> None:
    with pytest.raises(type(error), match="path='x'") as caught, _named("path='x'"):
        raise error
    assert caught.value.__cause__ is error
    with pytest.raises(ValueError, match=r"^path='x' is bad$") as caught, _named("path='x'"):
        raise ValueError("path='x' is bad")
    assert caught.value.__cause__ is None
