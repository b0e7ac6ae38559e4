"""A prediction resumes in the folder that it has begun, and no other one does."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Trainer, seed_everything

from lightning_gft import ExactMatchReward, GroupBatch, NumericReward, RewardAdvantage, SelfSource
from lightning_gft.callbacks import GroupWriter
from lightning_gft.rewards import RewardError
from lightning_gft.stored import StoredGroups
from tests.callbacks.predictions import BATCH, QUIET, Counting, Foreign, module_of, predict, untimed
from tests.conftest import prompt_batch


@pytest.mark.parametrize("missing", [[0], [1, 2], [0, 1, 2]], ids=str)
def test_a_run_that_resumes_samples_what_is_missing_and_nothing_else(missing: list[int], rows: Path, tmp_path: Path):
    predict(rows, tmp_path / "groups")
    whole = untimed(tmp_path / "groups")
    for step in missing:
        (tmp_path / f"groups/groups-{step:06d}-000.parquet").unlink()
    (tmp_path / "groups/.groups-000001-000.parquet-4711").write_bytes(b"PAR1")  # what it was writing when it was killed
    predictions = predict(rows, tmp_path / "groups")
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
    assert f"What was sampled is in {tmp_path}/groups: the same command resumes there" in capsys.readouterr().out
    assert len(StoredGroups(tmp_path / "groups")) == 4
    monkeypatch.setattr(Picky, "fails", False)
    predict(rows, tmp_path / "groups", module_of(Picky()))
    assert untimed(tmp_path / "groups") == untimed(tmp_path / "whole")


def other_rows(rows: Path) -> Path:
    """Return data of which the last row has another type in a column that nothing reads."""
    other = rows.with_name("others.jsonl")
    other.write_text(rows.read_text().replace('"given": "007"', '"given": 7'))
    return other


OTHERS: dict[str, tuple[str, Any]] = {
    "seed": ("seed: 1 (was 0)", {"seed": 1}),
    "batch size": ("batch_size: 5 (was 4)", {"batch_size": 5}),
    "fewer rows": ("data: 9 rows", {"max_train_rows": 9}),
    "another column": ("data: 10 rows", {"teacher_column": None, "module": "no teacher"}),
    "temperature": ("source `self`: SelfSource(SamplingParams(max_new_tokens=8, temperature=0.7", "temperature"),
    "reward": ("reward `accuracy`: ExactMatchReward", "reward"),
    "advantage": ("advantage: RewardAdvantage", "advantage"),
    "weights": ("weights: ", "weights"),
    "values of the data": ("data: 10 rows", "rows"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_run_is_refused_with_what_differs(what: str, rows: Path, tmp_path: Path):
    predict(rows, tmp_path / "groups")
    (tmp_path / "groups/groups-000002-000.parquet").unlink()
    before = untimed(tmp_path / "groups")
    message, change = OTHERS[what]
    options: dict[str, Any] = {}
    module, data = module_of(), rows
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
        data = other_rows(rows)
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


def test_a_folder_that_was_copied_is_resumed_where_it_is(rows: Path, tmp_path: Path):
    predict(rows, tmp_path / "groups")
    shutil.copytree(tmp_path / "groups", tmp_path / "copied")
    (tmp_path / "copied/groups-000000-000.parquet").unlink()
    predict(rows, tmp_path / "copied")
    assert untimed(tmp_path / "copied") == untimed(tmp_path / "groups")
