from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

from lightning_gft.data import load_rows

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
    assert load_rows(str(write(tmp_path)), split=split).to_list() == ROWS


def test_glob_joins_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"prompt": name}))
    assert load_rows(str(tmp_path / "?.jsonl"))["prompt"][:] == ["a", "b"]


def test_folder_takes_splits_from_the_files_names(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / f"{name}-00000.jsonl").write_text(json.dumps({"prompt": name}))
    assert load_rows(str(tmp_path), split="test")["prompt"][:] == ["test"]
    with pytest.raises(ValueError, match=r"'train', 'test': choose one by `val_split`"):
        load_rows(str(tmp_path), split_field="val_split")


@pytest.mark.parametrize("path", ["nowhere/at/all", "/nowhere", "./nowhere", "nowhere.parquet"])
def test_missing_path_is_named_with_what_is_read(path: str) -> None:
    with pytest.raises(FileNotFoundError, match=rf"val_path='{path}' does not exist.*\.jsonl, \.csv or \.parquet"):
        load_rows(path, path_field="val_path")


def test_glob_without_match_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"path='.*\*\.json' matches no file"):
        load_rows(str(tmp_path / "*.json"))


def test_folder_without_data_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(FileNotFoundError, match=r"folder without anything to read.*save_to_disk"):
        load_rows(str(tmp_path))


def test_unknown_kind_of_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_text("nothing")
    with pytest.raises(ValueError, match=r"cannot be read \(\.txt\).*\.parquet"):
        load_rows(str(path))


@pytest.mark.parametrize("error", [ConnectionError("no network"), datasets.exceptions.DatasetNotFoundError("gone")])
def test_name_that_the_hub_does_not_give_is_named(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(FileNotFoundError, match=rf"path='some/data' is neither here nor.*hub \({error}\)"):
        load_rows("some/data")


def test_hub_name_and_configuration_reach_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(*args: object) -> datasets.DatasetDict:
        asked.append(args)
        return datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)})

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert load_rows("some/data", name="main", split="train").to_list() == ROWS
    assert asked == [("some/data", "main")]


def test_unknown_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"test_split='test' is not a split of path='.*rows\.csv', which has 'train'"):
        load_rows(str(_write_csv(tmp_path)), split="test", split_field="test_split")


def test_configuration_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"name='main'.*is files"):
        load_rows(str(_write_csv(tmp_path)), name="main")


def test_empty_data_set_is_named(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).filter(lambda row: False).save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match=r"path='.*saved' has no rows in split='train'"):
        load_rows(str(tmp_path / "saved"), split="train")


PARQUET = "broken, cut short or no parquet file"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("rows.json", "[]", "has no rows"),
        ("rows.json", " \n", "not JSON"),
        ("rows.json", '[{"prompt": 1},\n {"prompt": 2\n]', r"line 3 of rows\.json is not JSON"),
        ("rows.json", '{"prompt": 1}\n{"prompt": [}\n', r"line 2 of rows\.json is not JSON"),
        ("rows.jsonl", "", r"rows\.jsonl is empty"),
        ("rows.jsonl", "\n\n", "has no rows"),
        ("rows.jsonl", '{"prompt": 1}\n{"prompt": [}\n', r"line 2 of rows\.jsonl is not JSON.*\[}.*Correct it"),
        ("rows.jsonl", '{"prompt": 1}\n\n{"prompt": "a', r"line 3 of rows\.jsonl is not JSON"),
        ("rows.jsonl", "1\n2\n", r"line 1 of rows\.jsonl must be like .*not 1"),
        (
            "rows.jsonl",
            '{"prompt": "a"}\n{"prompt": "caf\u00e9"}'.encode("latin1"),
            r"line 2 .*UTF-8.*save the file as",
        ),
        ("rows.csv", "", r"rows\.csv is empty"),
        ("rows.csv", "\n\n", r"rows\.csv is empty.*name the columns"),
        ("rows.csv", "prompt,answer\n", "has no rows"),
        ("rows.csv", "prompt,prompt\na,b\n", "header of rows.csv has 'prompt' more than once"),
        ("rows.csv", ",prompt\n0,a\n", "column 1 of rows.csv has no name.*index=False"),
        ("rows.csv", "prompt,answer\na,1\nb,2,3\n", "line 3 of rows.csv has 3 cells, but the header names 2.*'b,2,3'"),
        ("rows.csv", "prompt,answer\na,1,x\nb,2,3\n", "line 2 of rows.csv has 3 cells"),
        ("rows.csv", 'prompt,answer\n"a\nb",1\nc\n', "line 4 of rows.csv has 1 cells"),
        ("rows.csv", "prompt\n\u00e9\n".encode("latin1"), "line 2 of rows.csv is not UTF-8"),
        ("rows.csv", "pr\u00f6mpt\na\n".encode("latin1"), "line 1 of rows.csv is not UTF-8"),
        ("rows.parquet", "not parquet", PARQUET),
        ("rows.parquet", "", r"rows\.parquet is empty"),
    ],
)
def test_empty_or_broken_file_is_named_with_its_line(
    name: str, content: str | bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=rf"path='.*{name}' (has no rows|cannot be read)") as caught:
        load_rows(str(tmp_path / name))
    assert re.search(words, str(caught.value))
    assert type(caught.value) is ValueError


def test_truncated_parquet_is_found_among_others(tmp_path: Path) -> None:
    whole = _write_parquet(tmp_path)
    (tmp_path / "second.parquet").write_bytes(whole.read_bytes()[:-30])
    with pytest.raises(ValueError, match=rf"second\.parquet is {PARQUET}"):
        load_rows(str(tmp_path / "*.parquet"))


@pytest.mark.parametrize("pattern", ["", "*"])
def test_files_of_different_kinds_are_counted(tmp_path: Path, pattern: str) -> None:
    _write_csv(tmp_path)
    _write_jsonl(tmp_path)
    with pytest.raises(ValueError, match=r"different kinds \(1 \.csv, 1 \.jsonl\).*glob, as in '.*\*\.csv'"):
        load_rows(str(tmp_path / pattern))


def test_what_describes_a_folder_is_no_data(tmp_path: Path) -> None:
    _write_parquet(tmp_path)
    (tmp_path / "dataset_infos.json").write_text("{}")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "download.json").write_text("{}")
    assert load_rows(str(tmp_path)).to_list() == ROWS


def test_tables_with_different_columns_are_named(tmp_path: Path) -> None:
    for name, header in (("a", "prompt,answer"), ("b", "prompt,level")):
        (tmp_path / f"{name}.csv").write_text(f"{header}\n1,2\n")
    with pytest.raises(ValueError, match=r"b\.csv has the columns 'prompt', 'level', but a\.csv has"):
        load_rows(str(tmp_path))


def test_mark_that_excel_writes_is_no_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("prompt\na\n", encoding="utf-8-sig")
    assert load_rows(str(tmp_path / "rows.csv")).to_list() == [{"prompt": "a"}]


def test_saved_folder_that_is_not_whole_is_named(tmp_path: Path) -> None:
    saved = _save_to_disk(tmp_path)
    (saved / "dataset_info.json").unlink()
    with pytest.raises(ValueError, match=r"path='.*saved' is not whole, as `save_to_disk` leaves a folder"):
        load_rows(str(saved))


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_a_text_that_looks_like_a_date_stays_one(name: str, tmp_path: Path):
    rows = [{"prompt": "When?", "answer": "2024-01-31"}, {"prompt": "And then?", "answer": "2024-02-01T10:00:00"}]
    text = json.dumps(rows) if name.endswith(".json") else "\n".join(map(json.dumps, rows))
    (tmp_path / name).write_text(text)
    assert load_rows(str(tmp_path / name)).to_list() == rows
    with pytest.raises(ValueError, match=r"texts that look like dates would be read as such; give the files"):
        load_rows(str(tmp_path))
