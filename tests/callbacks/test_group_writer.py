"""Groups that predict has sampled, as a file."""

from __future__ import annotations

from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from lightning_gft import (
    ExactMatchReward,
    GFTLitModule,
    GroupSampler,
    RewardAdvantage,
    SelfSource,
    SFTLoss,
    TeacherSource,
)
from lightning_gft.callbacks import GroupWriter
from tests.conftest import prompt_batch, tiny_loader, tiny_policy


@pytest.mark.parametrize("world_size", [1, 2])
def test_unfinished_responses_are_left_out_and_counted(world_size, tmp_path):
    policy = tiny_policy()
    batch = prompt_batch(policy.tokenizer, ["1+1=", "2+2="], ["2", "4"], {"teacher": [["2"], ["5", "4"]]})
    batch.columns.update(question=["1+1=", "2+2="])
    sampler = GroupSampler(
        {"teacher": TeacherSource(), "self": SelfSource(num_generations=20, max_new_tokens=12)},
        {"accuracy": ExactMatchReward()},
        RewardAdvantage(),
    )
    groups = sampler.sample(batch, policy, seed=0)
    finished = int(groups.finished.sum()) - 3  # three are the teacher's
    assert 0 < finished < 40
    trainer = SimpleNamespace(world_size=world_size, global_rank=world_size - 1)
    module = GFTLitModule(tiny_loader(), sampler, SFTLoss())

    writer = GroupWriter(str(tmp_path / "out/groups.parquet"))
    writer.on_predict_start(trainer, module)
    writer.on_predict_batch_end(trainer, module, groups, batch, 0)
    writer.on_predict_end(trainer, module)

    name = "groups.parquet" if world_size == 1 else "groups-1.parquet"
    rows = pq.read_table(tmp_path / "out" / name).to_pylist()
    assert [row["question"] for row in rows] == ["1+1=", "2+2="]
    assert [row["teacher_responses"] for row in rows] == [["2"], ["5", "4"]]
    assert [row["teacher_rewards"] for row in rows] == [[1.0], [0.0, 1.0]]
    assert sum(len(row["self_responses"]) for row in rows) == finished
    assert writer.unfinished == 40 - finished


def test_what_was_sampled_before_a_failure_is_kept_with_every_column(tmp_path):
    policy = tiny_policy()
    sampler = GroupSampler(
        {"teacher": TeacherSource(), "self": SelfSource(2, max_new_tokens=4)},
        {"accuracy": ExactMatchReward()},
        RewardAdvantage(),
    )
    module, trainer = GFTLitModule(tiny_loader(), sampler, SFTLoss()), SimpleNamespace(world_size=1, global_rank=0)
    writer = GroupWriter(str(tmp_path / "groups.parquet"))
    writer.on_predict_start(trainer, module)
    for teacher in ([], ["2"]):  # the first batch has no teacher's response
        batch = prompt_batch(policy.tokenizer, ["1+1="], ["2"], {"teacher": [teacher]})
        batch.columns.update(question=["1+1="])
        writer.on_predict_batch_end(trainer, module, sampler.sample(batch, policy, seed=0), batch, 0)
    writer.on_exception(trainer, module, RuntimeError("out of memory"))
    assert not (tmp_path / "groups.parquet").exists()
    rows = pq.read_table(tmp_path / "groups-partial.parquet").to_pylist()
    assert [row["teacher_responses"] for row in rows] == [[], ["2"]]
