"""Data sets by name, from a hub on this machine that is there, gone, or says no."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest
from huggingface_hub import constants

from lightning_gft.data import load_rows
from lightning_gft.hub import cache
from tests.fake_hub import serve

ROWS = [{"answer": "007"}, {"answer": 7}, {"answer": "null"}]
JSONL = b'{"answer": "007"}\n{"answer": 7}\n{"answer": "null"}\n'
LINES_CARD = b"""---
configs:
- config_name: lines
  data_files: [{split: train, path: lines.jsonl}, {split: test, path: lines.jsonl}]
  default: true
- config_name: field
  data_files: one.json
  field: data
---
"""
TABLES_CARD = b"""---
configs:
- config_name: table
  data_files: table.csv
  sep: ;
- config_name: odd
  data_files: table.csv
  skiprows: 1
---
"""


def _parquet(rows: list[dict[str, str]]) -> bytes:
    file = io.BytesIO()
    datasets.Dataset.from_list(rows).to_parquet(file)
    return file.getvalue()


REPOSITORIES = {
    "some/lines": {
        "README.md": LINES_CARD,
        "lines.jsonl": JSONL,
        "one.json": b'{"version": 1, "data": [{"answer": "007"}]}',
    },
    "some/tables": {"README.md": TABLES_CARD, "table.csv": b"answer;one\n007;1\nNA;1\n"},
    "some/parquet": {
        "train-00000-of-00002.parquet": _parquet([{"answer": "007"}]),
        "train-00001-of-00002.parquet": _parquet([{"answer": "1e5"}]),
    },
    "some/text": {"train.txt": b"a line\n"},
    "some/gated": {},
    "some/packed": {"train.jsonl.zst": b"(\xb5/\xfd"},
}


@pytest.fixture
def _hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    with serve(REPOSITORIES) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        yield


@pytest.mark.usefixtures("_hub")
def test_values_stay_what_they_are() -> None:
    assert list(load_rows("some/lines", split="train")) == ROWS
    assert list(load_rows("some/lines", name="lines", split="test[1:]")) == ROWS[1:]
    assert list(load_rows("some/lines", name="field")) == [{"answer": "007"}]
    assert list(load_rows("some/tables", name="table")) == [{"answer": "007", "one": "1"}, {"answer": "NA", "one": "1"}]
    assert list(load_rows("some/parquet")) == [{"answer": "007"}, {"answer": "1e5"}]
    assert list(load_rows("some/text")) == [{"text": "a line"}]  # of a kind that the library reads


@pytest.mark.usefixtures("_hub")
@pytest.mark.parametrize(
    ("name", "configuration", "words"),
    [
        ("some/none", None, "a data set on the hub, got neither .*correct the name"),
        ("some/gated", None, "gated data set.*request access on its page and log in with `hf auth login` or HF_TOKEN"),
        ("some/packed", None, r"train.jsonl.zst: expected one of .*\.gz, \.bz2, \.xz, got \.zst"),
        ("some/lines", "main", "can be loaded from the hub, got: BuilderConfig 'main' not found.*lines"),
        ("some/tables", "odd", "card: expected to set sep, quotechar alone, got skiprows=1"),
    ],
)
def test_what_the_hub_refuses_is_told(name: str, configuration: str | None, words: str) -> None:
    with pytest.raises((FileNotFoundError, ValueError), match=f"^`path` \\('{name}'\\): .*{words}"):
        load_rows(name, name=configuration)


@pytest.mark.usefixtures("_hub")
def test_without_network_the_cache_counts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    load_rows("some/lines", split="train")
    load_rows("some/parquet")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    asked = []
    monkeypatch.setattr(cache, "_silences", {})
    monkeypatch.setattr(cache, "_fault", lambda address: asked.append(address) or "Connection refused")
    with pytest.warns(UserWarning, match=r"http://127\.0\.0\.1:9 does not answer \(Connection refused\)"):
        assert list(load_rows("some/lines", split="train")) == ROWS
    with pytest.raises(
        FileNotFoundError, match=r"in the cache, got neither, and .* give a local path, set HF_ENDPOINT.*HF_HOME"
    ):
        load_rows("some/text")
    assert asked == ["http://127.0.0.1:9"]  # nothing else is asked: the libraries would try for minutes
    assert not constants.HF_HUB_OFFLINE
    next(Path(constants.HF_HUB_CACHE).rglob("train-00001*")).unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="'train': expected 2 files in the cache, got 1; load it online once"):
        load_rows("some/parquet")


def test_offline_by_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match="in the cache, got neither, and HF_HUB_OFFLINE is set"):
        load_rows("some/data")
