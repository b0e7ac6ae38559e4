"""Groups that a run keeps come back as they were, without torch, also while the run trains."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from pyarrow import parquet

from lightning_gft.errors import GFTValueError
from lightning_gft.samples import SampledGroup, from_table, read_samples, reading, to_table
from lightning_gft.samples.reading import count_groups, sample_path
from tests.samples.making import FIGURES, group, response


def write(run: Path, groups: list[SampledGroup]) -> Path:
    path = sample_path(run / "samples", groups[0].kind, groups[0].step)
    path.parent.mkdir(exist_ok=True)
    parquet.write_table(to_table(groups), path)
    return path


def test_they_come_back_as_they_were(tmp_path: Path):
    entropies = replace(FIGURES, entropies=[0.5, 1.0, 2.0, 0.0])
    validation = replace(
        response(rewards={"accuracy": None, "format": 0.5}, advantage=None, greedy=True), completion="\ud7ff\0\u202e"
    )
    first = [group(2), group(2, group=1, responses=[response(trained=entropies)])]
    later = [group(10, "val", dataset="hard", responses=[validation]), group(10, "val", dataset="second")]
    write(tmp_path, later)
    assert count_groups(write(tmp_path, first)) == 2
    assert read_samples(tmp_path) == [*first, *later]


def test_what_is_not_known_stays_so():
    unknown = replace(FIGURES, factors=[math.nan] * 4)
    (kept,) = from_table(to_table([group(responses=[response(trained=unknown)])]))
    (figures,) = (each.trained for each in kept.responses)
    assert figures is not None
    assert all(map(math.isnan, figures.factors))
    assert (figures.rectified, figures.rectified_fraction) == ([False] * 4, None)
    assert (FIGURES.rectified, FIGURES.rectified_fraction) == ([False, True, False, True], 0.5)


TRL = ["step", "prompt", "completion", "accuracy", "format", "advantage"]


def test_plain_readers_see_one_table_with_the_columns_of_trl(tmp_path: Path):
    for step in (1, 2):
        write(tmp_path, [group(step)])
    table = pd.read_parquet(tmp_path / "samples")
    assert list(table.columns[: len(TRL)]) == TRL
    assert list(table["step"]) == [1, 1, 2, 2]
    assert list(table["tokens"].isna()) == [False, True, False, True]
    assert "".join(table["tokens"][0]) == "2€<eos>"


def test_a_reward_may_be_called_like_a_column(tmp_path: Path):
    names = {"prompt": 1.0, "rewards/prompt": 0.5, "tokens": None}
    rewards = {"prompt": 0.25, "rewards/prompt": None, "tokens": 2.0}
    given = [group(weights=names, responses=[response(rewards=rewards, trained=FIGURES)])]
    write(tmp_path, given)
    assert read_samples(tmp_path) == given


def test_a_file_that_is_gone_when_it_is_opened_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for step in (1, 2, 3):
        write(tmp_path, [group(step)])
    files = reading.sample_files(tmp_path / "samples")

    def thinned_out(folder: Path) -> list[reading.SampleFile]:
        sample_path(folder, "train", 2).unlink()
        return files

    monkeypatch.setattr(reading, "sample_files", thinned_out)
    assert [kept.step for kept in read_samples(tmp_path)] == [1, 3]


def test_what_someone_else_has_put_there_is_not_read(tmp_path: Path):
    write(tmp_path, [group()])
    for name in ("mine.parquet", "train-1.parquet", ".train-000002.parquet-host-1", "train-000003.txt"):
        (tmp_path / "samples" / name).write_text("mine")
    assert len(read_samples(tmp_path)) == 1


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    path = write(tmp_path, [group()])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GFTValueError, match=r"train-000001.parquet: expected a complete file .*, got .*; remove"):
        read_samples(tmp_path)
    pd.DataFrame({"prompt": ["1+1="]}).to_parquet(path)
    with pytest.raises(GFTValueError, match=r"train-000001.parquet: expected groups written by GroupTable"):
        read_samples(tmp_path)
    table = to_table([group()])
    parquet.write_table(table.replace_schema_metadata({b"lightning_gft_samples": b'{"version": 2}'}), path)
    with pytest.raises(GFTValueError, match=r"expected groups in layout 1, got layout 2"):
        read_samples(tmp_path)


def test_torch_is_not_needed(tmp_path: Path):
    write(tmp_path, [group()])
    code = f"""
import sys
from pathlib import Path
from lightning_gft.samples import read_samples
assert len(read_samples(Path({str(tmp_path)!r}))) == 1
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
