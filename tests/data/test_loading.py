from __future__ import annotations

import csv
import json
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


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.json", "[]"),
        ("rows.jsonl", ""),
        ("rows.csv", ""),
        ("rows.csv", "prompt,answer\n"),
        ("rows.jsonl", '{"prompt": 1}\n{"prompt": [}\n'),
        ("rows.parquet", "not parquet"),
    ],
)
def test_empty_or_broken_file_is_named(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=rf"path='.*{name}' has no rows, or cannot be read"):
        load_rows(str(tmp_path / name))
