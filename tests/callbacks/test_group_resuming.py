"""A prediction resumes in the folder that it has begun, and no other one does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from lightning.pytorch import Trainer, seed_everything
from pyarrow import parquet

from lightning_gft import ExactMatchReward, GroupBatch, NumericReward, RewardAdvantage, SelfSource
from lightning_gft.callbacks import GroupWriter
from lightning_gft.rewards import RewardError
from lightning_gft.stored import StoredGroups, write_shard
from lightning_gft.waiting import RunStoppedError
from tests.callbacks.predictions import BATCH, QUIET, Counting, Foreign, module_of, predict, untimed, write_rows
from tests.tiny import prompt_batch


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with rows and the groups of all of them."""
    folder = tmp_path_factory.mktemp("predicted")
    predict(write_rows(folder), folder / "groups")
    return folder


@pytest.fixture
def complete(predicted: Path, tmp_path: Path) -> Path:
    """Return rows whose groups are all in the folder ``groups`` of the test."""
    shutil.copytree(predicted / "groups", tmp_path / "groups")
    return predicted / "rows.jsonl"


@pytest.mark.parametrize("missing", [[0], [1, 2], [0, 1, 2]], ids=str)
def test_a_run_that_resumes_samples_what_is_missing_and_nothing_else(
    missing: list[int], complete: Path, tmp_path: Path
):
    whole = untimed(tmp_path / "groups")
    for step in missing:
        (tmp_path / f"groups/groups-{step:06d}-000.parquet").unlink()
    (tmp_path / "groups/.groups-000001-000.parquet-4194711").write_bytes(
        b"PAR1"
    )  # what it was writing when it was killed
    predictions = predict(complete, tmp_path / "groups")
    assert [groups is not None for groups in predictions] == [step in missing for step in range(3)]
    assert Counting.asked == sum([4, 4, 2][step] for step in missing)
    assert untimed(tmp_path / "groups") == whole
    assert len(list((tmp_path / "groups").iterdir())) == 3


def test_the_first_batches_can_be_looked_at_before_the_others_are_sampled(rows: Path, tmp_path: Path):
    predict(rows, tmp_path / "groups", limit=1)
    assert len(StoredGroups(tmp_path / "groups")) == BATCH
    assert [groups is None for groups in predict(rows, tmp_path / "groups")] == [True, False, False]
    predict(rows, tmp_path / "whole")
    assert untimed(tmp_path / "groups") == untimed(tmp_path / "whole")


def test_a_complete_folder_says_so_and_is_left_alone(rows: Path, tmp_path: Path, capsys):
    predict(rows, tmp_path / "groups")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "groups").iterdir()}
    assert predict(rows, tmp_path / "groups") == [None] * 3
    assert f"All groups are in {tmp_path}/groups already: nothing was sampled" in capsys.readouterr().out
    assert Counting.asked == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "groups").iterdir()} == before


def test_the_module_samples_everything_again_after_a_prediction_that_skipped(rows: Path, tmp_path: Path):
    module = module_of()
    predict(rows, tmp_path / "groups", module)
    predict(rows, tmp_path / "groups", module)
    assert all(isinstance(groups, GroupBatch) for groups in predict(rows, tmp_path / "others", module))
    assert untimed(tmp_path / "others") == untimed(tmp_path / "groups")


class Picky(NumericReward):
    """Fails on one prompt, which has no demonstration that is scored before the run, while it shall."""

    fails = False

    def __call__(self, *, prompts: Sequence[str], **rest: Any) -> Any:
        if self.fails and "6+1=" in prompts:
            raise RuntimeError("the verifier is down")
        return super().__call__(prompts=prompts, **rest)


def test_what_was_sampled_before_a_failure_is_kept(rows: Path, tmp_path: Path, capsys, monkeypatch):
    predict(rows, tmp_path / "whole", module_of(Picky()))
    monkeypatch.setattr(Picky, "fails", True)
    with pytest.raises(RewardError, match="the verifier is down"):
        predict(rows, tmp_path / "groups", module_of(Picky()))
    assert (
        f"The groups sampled so far are in {tmp_path}/groups; the same command resumes there" in capsys.readouterr().out
    )
    assert len(StoredGroups(tmp_path / "groups")) == 4
    monkeypatch.setattr(Picky, "fails", False)
    predict(rows, tmp_path / "groups", module_of(Picky()))
    assert untimed(tmp_path / "groups") == untimed(tmp_path / "whole")


def test_a_stopped_prediction_says_whether_it_resumes(rows: Path, tmp_path: Path, capsys, monkeypatch):
    def stop_after(batches: int) -> str:
        def generate(engine: Counting, model: Any, prompt_ids: Any, *args: Any, **settings: Any) -> Any:
            if Counting.asked == batches * BATCH:
                raise RunStoppedError(143)
            return draw(engine, model, prompt_ids, *args, **settings)

        with monkeypatch.context() as patched:
            patched.setattr(Counting, "generate", generate)
            with pytest.raises(RunStoppedError):
                predict(rows, tmp_path / "groups")
        return capsys.readouterr().out.splitlines()[-1]

    draw = Counting.generate
    resumes = f"The groups sampled so far are in {tmp_path}/groups; the same command resumes there"
    assert stop_after(0) == "Stopped before the first batch was complete; the same command begins again"
    assert stop_after(1) == resumes
    assert stop_after(0) == resumes  # there are those of the earlier run
    predict(rows, tmp_path / "groups")
    predict(rows, tmp_path / "whole")
    assert untimed(tmp_path / "groups") == untimed(tmp_path / "whole")


def other_rows(rows: Path, folder: Path) -> Path:
    """Return data of which the last row has another type in a column that nothing reads."""
    other = folder / "others.jsonl"
    other.write_text(rows.read_text().replace('"given": "007"', '"given": 7'))
    return other


OTHERS: dict[str, tuple[str, Any]] = {
    "seed": ("seed: 1 (was 0)", {"seed": 1}),
    "batch size": ("batch_size: 5 (was 4)", {"batch_size": 5}),
    "fewer rows": ("data: 9 rows", {"max_train_rows": 9}),
    "another column": ("data: 10 rows", {"teacher_column": None, "module": "no teacher"}),
    "temperature": ("SamplingParams(max_new_tokens=8, temperature=0.7", "temperature"),
    "reward": ("reward `accuracy`: ExactMatchReward", "reward"),
    "advantage": ("advantage: RewardAdvantage", "advantage"),
    "weights": ("weights: ", "weights"),
    "values of the data": ("data: 10 rows", "rows"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_run_is_refused_with_what_differs(what: str, complete: Path, tmp_path: Path):
    (tmp_path / "groups/groups-000002-000.parquet").unlink()
    before = untimed(tmp_path / "groups")
    message, change = OTHERS[what]
    options: dict[str, Any] = {}
    module, data = module_of(), complete
    if isinstance(change, dict):
        options = {name: value for name, value in change.items() if name != "module"}
        if "module" in change:
            module.sampler = module.sampler.with_parts(sources={"self": module.sampler.sources["self"]})
    elif change == "temperature":
        module = module_of(temperature=0.7)
    elif change == "reward":
        module = module_of(ExactMatchReward())
    elif change == "advantage":
        module.sampler = module.sampler.with_parts(advantage=RewardAdvantage())
    elif change == "weights":
        module = module_of(initializer_range=0.31)
    else:
        data = other_rows(complete, tmp_path)
    with pytest.raises(ValueError, match="`path`: expected a new folder, or one that a run") as error:
        predict(data, tmp_path / "groups", module, **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert Counting.asked == 0
    assert untimed(tmp_path / "groups") == before


def test_data_loaders_of_others_are_resumed_too(tmp_path: Path):
    module = module_of()
    module.sampler = module.sampler.with_parts(sources={"self": SelfSource(2, max_new_tokens=4)})
    batches = [prompt_batch(module.tokenizer, [f"{n}+1=", f"{n}+2="], [1, 2]) for n in range(3)]

    def run() -> Any:
        seed_everything(0, verbose=False)
        trainer = Trainer(accelerator="cpu", callbacks=[GroupWriter(str(tmp_path / "groups"))], **QUIET)  # type: ignore[arg-type]
        return trainer.predict(module, Foreign(batches))

    run()
    whole = untimed(tmp_path / "groups")
    assert [group.prompt for group in whole] == [f"{n}+{more}=" for n in range(3) for more in (1, 2)]
    (tmp_path / "groups/groups-000001-000.parquet").unlink()
    first, second = run()
    assert [groups is None for groups in (*first, *second)] == [True, False, True]
    assert untimed(tmp_path / "groups") == whole


def test_a_module_whose_prediction_failed_samples_every_batch_again(rows: Path, tmp_path: Path, monkeypatch):
    module = module_of(Picky())
    predict(rows, tmp_path / "groups", module, limit=1)
    monkeypatch.setattr(Picky, "fails", True)
    with pytest.raises(RewardError, match="the verifier is down"):
        predict(rows, tmp_path / "groups", module)  # skips the first batch, fails in the second
    monkeypatch.setattr(Picky, "fails", False)
    assert None not in predict(rows, tmp_path / "others", module)
    assert module.stored_batches == frozenset()


def test_a_folder_that_was_copied_is_resumed_where_it_is(rows: Path, tmp_path: Path):
    predict(rows, tmp_path / "groups")
    shutil.copytree(tmp_path / "groups", tmp_path / "copied")
    (tmp_path / "copied/groups-000000-000.parquet").unlink()
    predict(rows, tmp_path / "copied")
    assert untimed(tmp_path / "copied") == untimed(tmp_path / "groups")


def truncate(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-100])


def change_footer(shard: Path) -> None:
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-6] + bytes([whole[-6] ^ 255]) + whole[-5:])


def make_folder(shard: Path) -> None:
    shard.unlink()
    (shard / "inner").mkdir(parents=True)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "cut": truncate,
    "empty": lambda shard: shard.write_bytes(b""),
    "footer": change_footer,
    "foreign": lambda shard: parquet.write_table(pa.table({"prompt": ["1+1="]}), shard),
    "copy": lambda shard: shutil.copy(shard.with_name("groups-000001-000.parquet"), shard),
    "folder": make_folder,
}


@pytest.mark.parametrize("step", [0, 2])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_set_aside_and_sampled_again(damage: str, step: int, complete: Path, tmp_path: Path, capsys):
    whole = untimed(tmp_path / "groups")
    DAMAGES[damage](tmp_path / f"groups/groups-{step:06d}-000.parquet")
    predictions = predict(complete, tmp_path / "groups")
    assert [groups is not None for groups in predictions] == [number == step for number in range(3)]
    assert untimed(tmp_path / "groups") == whole
    [line] = [line for line in capsys.readouterr().out.splitlines() if "set aside" in line]
    assert line.startswith(f"groups-{step:06d}-000.parquet: expected ")
    assert line.endswith(f"set aside as groups-{step:06d}-000.damaged-0; its batch is sampled again")
    assert (tmp_path / f"groups/groups-{step:06d}-000.damaged-0").exists()


def test_a_folder_with_damaged_shards_alone_is_resumed(rows: Path, tmp_path: Path):
    predict(rows, tmp_path / "groups", limit=1)
    truncate(tmp_path / "groups/groups-000000-000.parquet")
    assert None not in predict(rows, tmp_path / "groups")
    assert len(StoredGroups(tmp_path / "groups")) == 10


def test_two_predictions_at_once_with_other_settings_are_not_mixed(rows: Path, tmp_path: Path, capsys):
    """A second run, with another seed, begins and ends while the first has sampled one batch."""

    class Meddled(NumericReward):
        def __call__(self, *, prompts: Sequence[str], **rest: Any) -> Any:
            begun = (tmp_path / "groups/groups-000000-000.parquet").exists()
            if begun and "4+1=" in prompts and not (tmp_path / "groups/groups-000001-000.parquet").exists():
                other = StoredGroups(tmp_path / "groups")
                info = replace(other.info, settings={**other.info.settings, "seed": "7"})
                write_shard(tmp_path / "groups", [replace(other[0], step=1)], info)
            return super().__call__(prompts=prompts, **rest)

    with pytest.raises(ValueError, match=r"that no other run writes to.*groups-000001-000\.parquet meanwhile \(seed: "):
        predict(rows, tmp_path / "groups", module_of(Meddled()))
    assert "the same command resumes there" not in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"groups-000001-000\.parquet: expected the settings of groups-000000-000"):
        StoredGroups(tmp_path / "groups")


def test_a_folder_that_cannot_be_written_to_is_refused_before_sampling(rows: Path, tmp_path: Path, monkeypatch):
    predict(rows, tmp_path / "groups", limit=1)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / "groups" and access(path, mode))
    with pytest.raises(PermissionError, match="groups, which cannot be written to; choose another"):
        predict(rows, tmp_path / "groups")
    assert Counting.asked == 0
    assert predict(rows, tmp_path / "groups", limit=1) == [None]  # which writes nothing
