"""The folder of kept groups: bounded, even over the run, and without doubles when a run resumes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest

from lightning_gft.callbacks.group_table.files import SampleFolder
from lightning_gft.samples.reading import sample_files, sample_path
from tests.samples.making import group


def run(folder: SampleFolder, steps: Iterable[int], kind: str = "train", num_groups: int = 1) -> None:
    for step in steps:
        if folder.wants(kind, step):  # type: ignore[arg-type]
            folder.write([group(step, kind, group=number) for number in range(num_groups)])
            assert sum(map(len, kept(folder.folder, num_groups).values())) <= folder.keep


def kept(folder: Path, num_groups: int = 1) -> dict[str, list[int]]:
    """Return the steps of each kind, a step for each of its groups."""
    files = sample_files(folder)
    return {kind: [file.step for file in files if file.kind == kind] * num_groups for kind in ("train", "val")}


@pytest.mark.parametrize("length", [1, 7, 8, 9, 100, 257])
@pytest.mark.parametrize("every", [1, 3])
def test_a_run_of_any_length_keeps_so_many_evenly(tmp_path: Path, length: int, every: int):
    run(SampleFolder(tmp_path, 8), range(every, length * every + 1, every))
    steps = kept(tmp_path)["train"]
    assert len(steps) >= min(length, 4)
    gaps = [after - before for before, after in pairwise(steps)]
    assert not gaps or max(gaps) <= 3 * min(gaps)
    assert steps[0] <= every * max(1, length // 4)
    assert steps[-1] > length * every - 2 * max([every, *gaps])


def test_groups_are_counted_and_not_files(tmp_path: Path):
    run(SampleFolder(tmp_path, 8), range(1, 50), num_groups=3)
    assert 1 < len(sample_files(tmp_path)) <= 2


def test_whichever_has_more_gives_up_first(tmp_path: Path):
    folder = SampleFolder(tmp_path, 10)
    for step in range(1, 201):
        run(folder, [step])
        if step % 50 == 0:
            run(folder, [step], "val")
    assert kept(tmp_path)["val"] == [50, 100, 150, 200]
    assert len(kept(tmp_path)["train"]) in range(3, 7)


def test_validations_alone_are_thinned_out_too(tmp_path: Path):
    run(SampleFolder(tmp_path, 4), range(0, 1000, 10), "val")
    assert len(kept(tmp_path)["val"]) in (2, 3, 4)


def test_more_groups_a_step_than_are_to_be_kept_leave_one_file(tmp_path: Path):
    folder = SampleFolder(tmp_path, 2)
    folder.write([group(1, "val", group=number) for number in range(5)])
    folder.write([group(2, "val", group=number) for number in range(5)])
    assert len(kept(tmp_path)["val"]) == 1


def test_a_run_that_resumes_writes_what_it_wrote_before_anew(tmp_path: Path):
    run(SampleFolder(tmp_path, 8), range(1, 21))
    run(SampleFolder(tmp_path, 8), [20], "val")
    (tmp_path / ".train-000021.parquet-host-1").write_text("half")
    before = kept(tmp_path)["train"]
    folder = SampleFolder(tmp_path, 8)
    folder.begin(10)
    assert kept(tmp_path) == {"train": [step for step in before if step <= 10], "val": []}
    assert not [*tmp_path.glob(".*")]
    run(folder, range(11, 41))
    steps = kept(tmp_path)["train"]
    assert len(steps) == len(set(steps)) <= 8
    assert steps[-1] > 30


def test_a_damaged_file_is_kept_under_another_name(tmp_path: Path):
    run(SampleFolder(tmp_path, 8), range(1, 5))
    damaged, other = sample_path(tmp_path, "train", 2), sample_path(tmp_path, "train", 3)
    half = damaged.read_bytes()[:100]
    damaged.write_bytes(half)
    other.write_bytes(b"")
    folder = SampleFolder(tmp_path, 8)
    first, second = folder.begin(4)
    assert re.fullmatch(
        r".*000002.parquet: expected a complete file .*[^;]; set aside as train-000002.damaged-0", first
    )
    assert "set aside as train-000003.damaged-0" in second
    assert (tmp_path / "train-000002.damaged-0").read_bytes() == half
    assert kept(tmp_path)["train"] == [1, 4]
    run(folder, [2, 5])
    assert kept(tmp_path)["train"] == [1, 2, 4, 5]
    assert not SampleFolder(tmp_path, 8).begin(5)


def test_a_new_run_in_the_same_folder_begins_anew_but_leaves_what_is_not_its_own(tmp_path: Path):
    run(SampleFolder(tmp_path, 8), range(1, 5))
    (tmp_path / "mine.parquet").write_text("mine")
    SampleFolder(tmp_path, 8).begin(0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.parquet"]


def test_a_step_that_is_taken_again_is_written_over(tmp_path: Path):
    folder = SampleFolder(tmp_path, 8)
    run(folder, [1, 1, 2])
    assert kept(tmp_path)["train"] == [1, 2]


def test_less_is_kept_than_the_run_before_kept(tmp_path: Path):
    run(SampleFolder(tmp_path, 64), range(1, 51))
    SampleFolder(tmp_path, 8).begin(50)
    assert 4 <= len(kept(tmp_path)["train"]) <= 8
