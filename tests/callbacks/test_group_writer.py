"""Groups that predict has sampled, as a folder of shards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from lightning.pytorch import LightningDataModule, Trainer, seed_everything
from pyarrow import parquet
from torch.utils.data import DataLoader

from lightning_gft import (
    ExactMatchReward,
    FormatReward,
    GFTLitModule,
    GroupBatch,
    GroupDataModule,
    GroupSampler,
    NumericReward,
    PromptBatch,
    Reward,
    RewardAdvantage,
    RFTLoss,
    SelfSource,
    Source,
    TeacherSource,
    TransformersEngine,
)
from lightning_gft.callbacks import GroupWriter
from lightning_gft.rewards import RewardError
from lightning_gft.stored import StoredGroup, StoredGroups
from tests.conftest import prompt_batch, tiny_loader

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
NUM_ROWS, BATCH = 10, 4


class Counting(TransformersEngine):
    """Notes how many prompts it is asked about."""

    asked = 0

    def generate(self, model: Any, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        type(self).asked += len(prompt_ids)
        return super().generate(model, prompt_ids, *args, **kwargs)


@pytest.fixture(autouse=True)
def _count_anew() -> None:
    Counting.asked = 0


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = [
        {"prompt": f"{n}+1=", "answer": n + 1, "teacher": [str(n)] * (n % 3), "given": "007" if n % 2 else n}
        for n in range(NUM_ROWS)
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def module_of(reward: Reward | None = None, temperature: float = 1.0, **config: Any) -> GFTLitModule:
    loader = tiny_loader(**config)
    loader.rollout = Counting()
    sampler = GroupSampler(
        {"teacher": TeacherSource(), "self": SelfSource(6, max_new_tokens=8, temperature=temperature)},
        {"accuracy": reward or NumericReward(), "digits": FormatReward("[0-9]+", weight=0.5)},
    )
    return GFTLitModule(loader, sampler, RFTLoss())


def predict(rows: Path, out: Path, module: GFTLitModule | None = None, seed: int = 0, **options: Any) -> list[Any]:
    data = GroupDataModule(str(rows), **{"teacher_column": "teacher", "batch_size": BATCH, **options})
    seed_everything(seed, verbose=False)
    trainer = Trainer(accelerator="cpu", callbacks=[GroupWriter(str(out))], **QUIET)  # type: ignore[arg-type]
    predictions = trainer.predict(module or module_of(), data)
    assert predictions is not None
    return predictions


def untimed(folder: Path) -> list[StoredGroup]:
    return [replace(group, sampling_seconds=0.0, scoring_seconds=0.0) for group in StoredGroups(folder)]


def test_every_response_is_written_with_what_became_of_it(rows: Path, tmp_path: Path, capsys):
    module = module_of()
    predictions = predict(rows, tmp_path / "deep/groups", module)

    written = StoredGroups(tmp_path / "deep/groups")
    unfinished = sum(int((~groups.finished).sum()) for groups in predictions)
    responses = sum(map(len, predictions))
    assert 0 < unfinished < responses
    told = f"10 groups written to {tmp_path}/deep/groups; {unfinished} of {responses} responses are unfinished"
    assert told in capsys.readouterr().out
    assert [shard.name for shard in written.shards] == [f"groups-{step:06d}-000.parquet" for step in range(3)]
    assert [(group.step, group.place, group.row) for group in written] == [(n // 4, n % 4, str(n)) for n in range(10)]
    assert [group.columns["given"] for group in written] == ["007" if n % 2 else n for n in range(10)]
    assert (written.info.rewards, written.info.prompts) == ({"accuracy": 1.0, "digits": 0.5}, 10)
    for step, groups in enumerate(predictions):
        here = [group for group in written if group.step == step]
        assert {group.sampling_seconds for group in here} == {groups.sampling_seconds}
        assert {group.scoring_seconds for group in here} == {groups.scoring_seconds}
        assert min(groups.sampling_seconds, groups.scoring_seconds) > 0
        kept = [response for group in here for response in group.responses]
        assert [response.reward for response in kept] == groups.rewards.tolist()
        assert [response.advantage for response in kept] == groups.advantages.tolist()
        assert [response.finished for response in kept] == groups.finished.tolist()
        assert [Source[response.source.upper()] for response in kept] == groups.source.tolist()
        assert [response.completion for response in kept] == groups.responses
        for name, part in groups.reward_parts.items():
            assert [response.rewards[name] for response in kept] == part.tolist()
        assert groups.sampling_logprobs is not None
        for n, response in enumerate(kept):
            mask = groups.response_mask[n]
            assert response.token_ids == groups.input_ids[n][mask].tolist()
            own = response.source == "self"
            assert response.logprobs == (groups.sampling_logprobs[n][mask].tolist() if own else None)
            raw = module.policy.decode(response.token_ids, skip_special_tokens=False)
            assert response.raw_completion == raw


TRL = ["step", "prompt", "completion", "accuracy", "digits", "advantage"]


def test_plain_readers_see_one_table_with_the_columns_of_trl(rows: Path, tmp_path: Path):
    predictions = predict(rows, tmp_path / "groups")
    responses = sum(map(len, predictions))
    table = pd.read_parquet(tmp_path / "groups")
    files = str(tmp_path / "groups/*.parquet")
    loaded = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))["train"]
    assert len(table) == len(loaded) == responses
    assert list(table.columns[: len(TRL)]) == loaded.column_names[: len(TRL)] == TRL
    assert table["advantage"].notna().all()
    assert set(table["finish_reason"]) == {"stop", "length"}
    assert (table["completion_length"] == table["completion_token_ids"].map(len)).all()
    assert json.loads(table["columns"][0])["prompt"] == "0+1="


@pytest.mark.parametrize("missing", [[0], [1, 2], [0, 1, 2]], ids=str)
def test_a_run_that_resumes_samples_what_is_missing_and_nothing_else(missing: list[int], rows: Path, tmp_path: Path):
    predict(rows, tmp_path / "groups")
    whole = untimed(tmp_path / "groups")
    for step in missing:
        (tmp_path / f"groups/groups-{step:06d}-000.parquet").unlink()
    (tmp_path / "groups/.groups-000001-000.parquet-4711").write_bytes(b"PAR1")  # what it was writing when it was killed
    Counting.asked = 0
    predictions = predict(rows, tmp_path / "groups")
    assert [groups is not None for groups in predictions] == [step in missing for step in range(3)]
    assert Counting.asked == sum([4, 4, 2][step] for step in missing)
    assert untimed(tmp_path / "groups") == whole
    assert len(list((tmp_path / "groups").iterdir())) == 3


def test_a_complete_folder_says_so_and_is_left_alone(rows: Path, tmp_path: Path, capsys):
    predict(rows, tmp_path / "groups")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "groups").iterdir()}
    Counting.asked = 0
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
    Counting.asked = 0
    with pytest.raises(ValueError, match="`path`: expected a new folder, or one that a run") as error:
        predict(data, tmp_path / "groups", module, **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert Counting.asked == 0
    assert untimed(tmp_path / "groups") == before


def test_something_else_at_the_path_is_left_alone(rows: Path, tmp_path: Path):
    for name in ("file", "folder/file.parquet", "other/file"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    for name in ("file", "folder", "other"):
        with pytest.raises(FileExistsError, match=f"{name} is there already"):
            predict(rows, tmp_path / name)
    assert Counting.asked == 0
    assert [(tmp_path / name).read_text() for name in ("file", "folder/file.parquet", "other/file")] == ["mine"] * 3


def test_a_write_that_fails_leaves_nothing_half(rows: Path, tmp_path: Path, monkeypatch):
    def half(table: Any, file: Any, **options: Any) -> None:
        file.write(b"PAR1")
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(parquet, "write_table", half)
        with pytest.raises(OSError, match="No space left"):
            predict(rows, tmp_path / "groups")
    assert not list((tmp_path / "groups").iterdir())
    predict(rows, tmp_path / "groups")
    assert len(StoredGroups(tmp_path / "groups")) == 10


def test_a_reward_may_not_be_called_like_a_column(rows: Path, tmp_path: Path):
    module = module_of()
    module.sampler = module.sampler.with_parts(rewards={"prompt": NumericReward()})
    with pytest.raises(ValueError, match=r"`rewards\['prompt'\]`: expected a name that is no column of stored groups"):
        predict(rows, tmp_path / "groups", module)


class Foreign(LightningDataModule):
    """Someone else's: two data loaders, and batches that know neither rows nor places."""

    def __init__(self, batches: list[PromptBatch]) -> None:
        super().__init__()
        self.batches = batches

    def predict_dataloader(self) -> list[DataLoader[Any]]:
        return [DataLoader(self.batches[:2], batch_size=None), DataLoader(self.batches[2:], batch_size=None)]  # type: ignore[arg-type]


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


def test_a_value_that_cannot_be_kept_is_named_with_its_column(tmp_path: Path):
    module = module_of()
    module.sampler = module.sampler.with_parts(sources={"self": SelfSource(2, max_new_tokens=4)})
    batch = prompt_batch(module.tokenizer, ["1+1="], [2])
    batch.columns.update(level=[1], image=[object()])
    trainer = Trainer(accelerator="cpu", callbacks=[GroupWriter(str(tmp_path / "groups"))], **QUIET)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^column 'image': expected texts, numbers, .*; take the column out"):
        trainer.predict(module, Foreign([batch, batch, batch]))


def test_a_folder_that_was_copied_is_resumed_where_it_is(rows: Path, tmp_path: Path):
    predict(rows, tmp_path / "groups")
    shutil.copytree(tmp_path / "groups", tmp_path / "copied")
    (tmp_path / "copied/groups-000000-000.parquet").unlink()
    predict(rows, tmp_path / "copied")
    assert untimed(tmp_path / "copied") == untimed(tmp_path / "groups")
