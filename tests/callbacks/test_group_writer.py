"""Groups that predict has sampled, as a folder of shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from lightning.pytorch import Trainer
from pyarrow import parquet

from lightning_gft import NumericReward, SelfSource, Source
from lightning_gft.callbacks import GroupWriter
from lightning_gft.stored import StoredGroups
from tests.callbacks.predictions import QUIET, Counting, Foreign, module_of, predict
from tests.tiny import prompt_batch


def test_every_response_is_written_with_what_became_of_it(rows: Path, tmp_path: Path, capsys):
    module = module_of()
    predictions = predict(rows, tmp_path / "deep/groups", module)

    written = StoredGroups(tmp_path / "deep/groups")
    truncated = sum(int((~groups.finished).sum()) for groups in predictions)
    responses = sum(map(len, predictions))
    assert 0 < truncated < responses
    told = f"10 groups written to {tmp_path}/deep/groups; {truncated} of {responses} responses are truncated"
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


def test_something_else_at_the_path_is_left_alone(rows: Path, tmp_path: Path):
    for name in ("file", "folder/file.parquet", "other/file"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    for name in ("file", "folder", "other"):
        with pytest.raises(FileExistsError, match=f"{name}: expected a new path or an empty folder"):
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
    with pytest.raises(ValueError, match=r"`rewards\.prompt`: expected a name that is not a column of stored groups"):
        predict(rows, tmp_path / "groups", module)


def test_a_value_that_cannot_be_kept_is_named_with_its_column(tmp_path: Path):
    module = module_of()
    module.sampler = module.sampler.with_parts(sources={"self": SelfSource(2, max_new_tokens=4)})
    batch = prompt_batch(module.tokenizer, ["1+1="], [2])
    batch.columns.update(level=[1], image=[object()])
    trainer = Trainer(accelerator="cpu", callbacks=[GroupWriter(str(tmp_path / "groups"))], **QUIET)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^column 'image': expected texts, numbers, .*; remove the column"):
        trainer.predict(module, Foreign([batch, batch, batch]))
