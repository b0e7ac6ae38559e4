"""Slices of splits, as the ``datasets`` library reads them, over every kind of data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
from jsonargparse import ArgumentParser
from transformers import PreTrainedTokenizerFast

from lightning_gft.data import GroupDataModule, load_rows

TRAIN = [{"prompt": f"{number}+1=", "answer": f"{number + 1}"} for number in range(10)]
TEST = [{"prompt": f"{number}-1=", "answer": f"{number - 1}"} for number in range(1, 5)]


def _write(file: Path, rows: list[dict[str, str]]) -> None:
    file.write_text("\n".join(map(json.dumps, rows)))


def _folder(folder: Path) -> Path:
    _write(folder / "train.jsonl", TRAIN)
    _write(folder / "test.jsonl", TEST)
    return folder


def _parquet_folder(folder: Path) -> Path:
    for name, rows in (("train", TRAIN), ("test", TEST)):
        datasets.Dataset.from_list(rows).to_parquet(folder / f"{name}.parquet", batch_size=3)
    return folder


def _saved(folder: Path) -> Path:
    splits = {"train": datasets.Dataset.from_list(TRAIN), "test": datasets.Dataset.from_list(TEST)}
    datasets.DatasetDict(splits).save_to_disk(folder / "saved")
    return folder / "saved"


SPECS = [
    "train",
    "train[:3]",
    "train[-3:]",
    "train[2:-1]",
    "train[:80%]",
    "train[15%:55%]",
    "train[8:]+train[:2]",
    "train+test",
    "test[50%:]+train[9:]",
]


@pytest.mark.parametrize("write", [_folder, _parquet_folder, _saved])
def test_slices_are_those_of_the_library(
    write: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write(tmp_path_factory.mktemp("data"))
    reference = str(_parquet_folder(tmp_path_factory.mktemp("reference")))
    for spec in SPECS:
        rows = load_rows(path, split=spec)
        expected = datasets.load_dataset(reference, split=spec).to_list()
        assert (list(rows), len(rows), rows[-1]) == (expected, len(expected), expected[-1])


def test_rows_are_called_by_their_places_in_the_file(tmp_path: Path) -> None:
    rows = load_rows(_folder(tmp_path), split="train[60%:]+train[:2]")
    assert rows[:].positions == [6, 7, 8, 9, 0, 1]
    assert rows.take([1, 5]).positions == [7, 1]
    assert load_rows(tmp_path, split="test[3:]+train[9:]")[:].positions == ["3 of 'test'", "9 of 'train'"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("train[::2]", r"expected a split, slices such as 'train\[:1000\]'.*'train', 'test'"),
        ("train[:0.5]", "expected a split, slices"),
        ("train[5]", "expected a split, slices"),
        ("train[:200%]", "Percent slice boundaries"),
        ("", "expected a split"),
        ("dev[:3]", "expected a split of .*, 'train', 'test', got 'dev'; name one of these"),
        ("train+dev", "got 'dev'"),
    ],
)
def test_what_is_no_slice_is_named(spec: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^`val_split` \\('.*{words}"):
        load_rows(_folder(tmp_path), split=spec, split_field="val_split")


@pytest.mark.parametrize("spec", ["train[100:]", "train[5:2]", "train[:0]"])
def test_slice_without_rows_is_named(spec: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected rows, got none in split='train.*\(rows: 10 in 'train'\)"):
        load_rows(_folder(tmp_path), split=spec)


def _module(path: Path, tokenizer: PreTrainedTokenizerFast, **options: object) -> GroupDataModule:
    data = GroupDataModule(str(path), **options)  # type: ignore[arg-type]
    data.tokenizer = tokenizer
    return data


def test_datamodule_takes_slices_for_every_split(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    data = _module(
        _folder(tmp_path),
        tokenizer,
        train_split="train[:80%]",
        val_split="train[80%:]",
        test_split="test[1:]+train[:1]",
    )
    data.setup()
    rows = {split: [example.row for example in data.examples[split][""]] for split in ("train", "val", "test")}
    assert rows == {
        "train": list(range(8)),
        "val": [8, 9],
        "test": ["1 of 'test'", "2 of 'test'", "3 of 'test'", "0 of 'train'"],
    }


def test_share_held_out_of_a_slice(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    data = _module(_folder(tmp_path), tokenizer, train_split="train[2:]", val_split=0.25)
    data.setup("fit")
    rows = {split: [example.row for example in data.examples[split][""]] for split in ("train", "val")}
    assert len(rows["val"]) == 2
    assert sorted(rows["train"] + rows["val"]) == list(range(2, 10))


def test_error_names_the_row_of_the_file(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    _write(tmp_path / "rows.jsonl", [*TRAIN[:7], {"prompt": "", "answer": "x"}])
    with pytest.raises(ValueError, match=r"train data: row 7 \(counting from 0\), column 'prompt'"):
        _module(tmp_path / "rows.jsonl", tokenizer, train_split="train[50%:]").setup("fit")


def test_validation_on_training_rows_is_told(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    data = _module(_folder(tmp_path), tokenizer, train_split="train[:7]", val_split="train[5:]", test_split="train")
    with pytest.warns(UserWarning, match="val data: 2 of 5 rows are also training rows"):
        data.setup("fit")


def test_slices_on_the_command_line() -> None:
    parser = ArgumentParser()
    parser.add_class_arguments(GroupDataModule, "data")
    given = ["--data.path=rows.json", "--data.train_split=train[:80%]", "--data.val_split=train[80%:]"]
    data = parser.parse_args(given).data
    assert (data.train_split, data.val_split) == ("train[:80%]", "train[80%:]")
