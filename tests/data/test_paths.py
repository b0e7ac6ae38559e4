"""What a path may be, and what is said of one that is none."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import datasets
import pytest

from lightning_gft.data import GroupDataModule, load_rows

ROWS = [{"prompt": "1+1=", "answer": "007"}, {"prompt": "2+2=", "answer": "NA"}]


def _write_jsonl(folder: Path) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    return path


def _write_csv(folder: Path) -> Path:
    path = folder / "rows.csv"
    path.write_text("prompt,answer\n" + "\n".join(",".join(row.values()) for row in ROWS))
    return path


def _write_parquet(folder: Path) -> Path:
    path = folder / "rows.parquet"
    datasets.Dataset.from_list(ROWS).to_parquet(path)
    return path


def test_names_that_no_file_has(tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "gone.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    for path, words in {
        tmp_path / ("x" * 300): "does not exist",
        "x" * 300: "does not exist",
        "~nobody-of-this-name/rows.jsonl": "does not exist",
        tmp_path / "link.jsonl": "got a link to a file that does not exist",
        tmp_path / "folder.jsonl": "expected a folder with data files, got one without",
        "/dev/null": "got neither a file nor a folder",
        "s3://bucket/rows.jsonl": r"got an address \(s3\); copy the data here first",
        "hf://datasets/openai/gsm8k/main": "expected a name on the hub without .*as in 'openai/gsm8k'",
    }.items():
        with pytest.raises(FileNotFoundError, match=rf"^`path` \('.*{words}"):
            load_rows(path)


@pytest.mark.parametrize("field", ["path", "val_path", "test_path"])
def test_an_empty_path_is_not_the_current_folder(field: str) -> None:
    with pytest.raises(ValueError, match=f"^`{field}`: expected data, got an empty text; give a .json"):
        GroupDataModule(**{"path": "rows.jsonl", field: ""})
    with pytest.raises(ValueError, match=f"^`{field}`: expected data, got an empty text; give a .json"):
        load_rows(" ", path_field=field)


@pytest.mark.parametrize("settings", ["config.json", "adapter_config.json"])
def test_a_model_is_no_data(settings: str, tmp_path: Path) -> None:
    for name in (settings, "generation_config.json"):
        (tmp_path / name).write_text('{"version": 1}')
    assert list(load_rows(tmp_path))  # no weights, no model
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=f"expected data, got a model's folder, with {settings} and model-00001"):
        load_rows(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    for write in (_write_jsonl, _write_csv, _write_parquet):
        path = write(tmp_path)
        path.chmod(0)
        with pytest.raises(OSError, match=r"expected data that can be opened, .*Permission denied"):
            load_rows(path)


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.open), ("bz2", bz2.open), ("xz", lzma.open)])
def test_compressed_files(tmp_path: Path, suffix: str, pack: Callable[..., BinaryIO]) -> None:
    for write in (_write_jsonl, _write_csv):
        path = write(tmp_path)
        with pack(f"{path}.{suffix}", "wb") as file:
            file.write(path.read_bytes())
        path.unlink()
        assert list(load_rows(f"{path}.{suffix}")) == ROWS
        assert list(load_rows(tmp_path)) == ROWS
        Path(f"{path}.{suffix}").unlink()


def test_home_colons_and_slashes_in_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = _write_jsonl(tmp_path)
    path.rename(tmp_path / "a:b [1].jsonl")
    for given in ("~/a:b [1].jsonl", f"{tmp_path}//a:b [1].jsonl", f"{tmp_path}/"):
        assert list(load_rows(given)) == ROWS
