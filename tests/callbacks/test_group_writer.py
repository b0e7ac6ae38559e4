"""Groups that predict has sampled, as a file."""

from __future__ import annotations

from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from lightning_gft import ExactMatchReward, GroupSampler, RewardAdvantage, SelfSource, TeacherSource
from lightning_gft.callbacks import GroupWriter
from tests.conftest import prompt_batch, tiny_policy


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

    writer = GroupWriter(str(tmp_path / "out/groups.parquet"))
    writer.on_predict_start(trainer, policy)
    writer.on_predict_batch_end(trainer, policy, groups, batch, 0)
    writer.on_predict_end(trainer, policy)

    name = "groups.parquet" if world_size == 1 else "groups-1.parquet"
    rows = pq.read_table(tmp_path / "out" / name).to_pylist()
    assert [row["question"] for row in rows] == ["1+1=", "2+2="]
    assert [row["teacher_responses"] for row in rows] == [["2"], ["5", "4"]]
    assert [row["teacher_rewards"] for row in rows] == [[1.0], [0.0, 1.0]]
    assert sum(len(row["self_responses"]) for row in rows) == finished
    assert writer.unfinished == 40 - finished
