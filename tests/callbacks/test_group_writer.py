"""Groups that predict has sampled, as a file."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from lightning.pytorch import Trainer

from lightning_gft import (
    ExactMatchReward,
    FormatReward,
    GFTLitModule,
    GroupBatch,
    GroupDataModule,
    GroupSampler,
    Policy,
    PromptBatch,
    RewardAdvantage,
    RFTLoss,
    SelfSource,
    Source,
    TeacherSource,
)
from lightning_gft.callbacks import GroupWriter
from tests.conftest import prompt_batch, tiny_loader, tiny_policy


def module_of(policy: Policy, sampler: GroupSampler) -> GFTLitModule:
    module = GFTLitModule(tiny_loader(), sampler, RFTLoss())
    module.policy = policy
    return module


def write(
    path: Path,
    batches: list[tuple[GroupBatch, PromptBatch]],
    module: GFTLitModule,
    world_size: int = 1,
    others_fit: bool = True,
) -> None:
    # What the other rank decides is `others_fit`.
    strategy = SimpleNamespace(reduce_boolean_decision=lambda fits: fits and others_fit)
    trainer = SimpleNamespace(world_size=world_size, global_rank=world_size - 1, strategy=strategy)
    writer = GroupWriter(str(path))
    writer.on_predict_start(trainer, module)
    for groups, batch in batches:
        writer.on_predict_batch_end(trainer, module, groups, batch, 0)
    writer.on_predict_end(trainer, module)


@pytest.mark.parametrize("world_size", [1, 2])
def test_every_response_is_written_with_what_became_of_it(world_size, tmp_path, capsys):
    policy = tiny_policy()
    batch = prompt_batch(policy.tokenizer, ["1+1=", "2+2="], ["2", "4"], {"teacher": [["2"], ["5", "4"]]})
    batch.columns.update(question=["1+1=", "2+2="])
    sampler = GroupSampler(
        {"teacher": TeacherSource(), "self": SelfSource(num_generations=20, max_new_tokens=12)},
        {"accuracy": ExactMatchReward(), "digits": FormatReward("[0-9]+", weight=0.5)},
    )
    groups = sampler.sample(batch, policy, seed=0)
    unfinished = int((~groups.finished).sum())
    assert 0 < unfinished < 40

    write(tmp_path / "out/groups.parquet", [(groups, batch)], module_of(policy, sampler), world_size)

    name = "groups.parquet" if world_size == 1 else "groups-1.parquet"
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
    assert f"{unfinished} of 43 responses are unfinished" in capsys.readouterr().out
    rows = pq.read_table(tmp_path / "out" / name).to_pylist()
    assert [row["question"] for row in rows] == ["1+1=", "2+2="]
    assert [row["teacher_responses"] for row in rows] == [["2"], ["5", "4"]]
    assert [row["teacher_finished"] for row in rows] == [[True], [True, True]]
    assert [row["teacher_rewards"] for row in rows] == [[1.5], [0.5, 1.5]]
    assert [row["teacher_rewards/accuracy"] for row in rows] == [[1.0], [0.0, 1.0]]
    own = groups.source == Source.SELF
    for number, row in enumerate(rows):
        chosen = own & (groups.group_index == number)
        assert row["self_finished"] == groups.finished[chosen].tolist()
        assert row["self_rewards"] == groups.rewards[chosen].tolist()
        assert row["self_advantages"] == groups.advantages[chosen].tolist()
        assert row["self_rewards/digits"] == groups.reward_parts["digits"][chosen].tolist()
        for text, n in zip(row["self_responses"], chosen.nonzero().flatten().tolist(), strict=True):
            ids = groups.input_ids[n][groups.response_mask[n]].tolist()
            ended = [policy.tokenizer.eos_token_id] if groups.finished[n] else []
            assert policy.tokenizer.encode(text) + ended == ids  # special tokens too


def test_a_datamodule_reads_the_finished_responses_back_as_they_were_drawn(tmp_path):
    policy = tiny_policy()
    batch = prompt_batch(policy.tokenizer, ["1+1=", "2+2="], ["2", "4"])
    batch.columns.update(prompt=batch.prompts, answer=["2", "4"])
    sampler = GroupSampler(
        {"self": SelfSource(12, max_new_tokens=12)}, {"accuracy": ExactMatchReward()}, RewardAdvantage()
    )
    groups = sampler.sample(batch, policy, seed=0)
    write(tmp_path / "groups.parquet", [(groups, batch)], module_of(policy, sampler))
    unfinished = int((~groups.finished).sum())

    settings = {"path": str(tmp_path / "groups.parquet"), "teacher_column": "self_responses"}
    data = GroupDataModule(**settings)
    data.tokenizer = policy.tokenizer
    with pytest.warns(UserWarning, match=rf"train data: .*\b{unfinished} unfinished teacher responses were left out"):
        data.setup("fit")
    read = [
        response.token_ids for example in data.examples["train"][""] for response in example.demonstrations["teacher"]
    ]
    drawn = [
        ids[mask].tolist()
        for ids, mask, finished in zip(groups.input_ids, groups.response_mask, groups.finished, strict=True)
        if finished and mask.sum() > 1  # an end alone is no demonstration
    ]
    assert read == drawn

    data = GroupDataModule(**settings, unfinished_demonstrations="error")
    data.tokenizer = policy.tokenizer
    with pytest.raises(ValueError, match="expected finished responses, got one that 'self_finished' calls unfinished"):
        data.setup("fit")


MIXED = {
    "texts and numbers": ["007", 7],
    "lists and texts": [["2"], "2"],
    "large numbers": [10**30, 1],
    "whole numbers and fractions": [1, 2.5],
    "nothing within": [{}, {}],
    "keys that others lack": [{"x": 1}, {"y": "1"}],
    "fractions within": [{"x": 1}, {"x": 0.5}],
}


@pytest.mark.parametrize("kind", MIXED)
def test_columns_that_parquet_would_change_go_to_json_lines(kind, tmp_path, capsys):
    policy = tiny_policy()
    batch = prompt_batch(policy.tokenizer, ["1+1=", "2+2="], ["2", "4"])
    batch.columns.update(given=MIXED[kind])
    sampler = GroupSampler({"self": SelfSource(2, max_new_tokens=4)}, {"accuracy": ExactMatchReward()})
    groups = sampler.sample(batch, policy, seed=0)
    write(tmp_path / "groups.parquet", [(groups, batch)], module_of(policy, sampler))
    assert [path.name for path in tmp_path.iterdir()] == ["groups.jsonl"]
    rows = [json.loads(line) for line in (tmp_path / "groups.jsonl").read_text().splitlines()]
    assert repr([row["given"] for row in rows]) == repr(MIXED[kind])
    assert [len(row["self_responses"]) for row in rows] == [2, 2]
    assert "groups.jsonl; " in (told := capsys.readouterr().out)
    assert "JSON Lines, as Parquet" in told


def test_a_write_that_fails_leaves_nothing_half(tmp_path, monkeypatch):
    policy = tiny_policy()
    batch = prompt_batch(policy.tokenizer, ["1+1="], ["2"])
    sampler = GroupSampler({"self": SelfSource(2, max_new_tokens=4)}, {"accuracy": ExactMatchReward()})
    groups = sampler.sample(batch, policy, seed=0)

    def half(table, path):
        Path(path).write_bytes(b"PAR1")
        raise OSError("No space left on device")

    monkeypatch.setattr(pq, "write_table", half)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "groups.parquet", [(groups, batch)], module_of(policy, sampler))
    assert not list(tmp_path.iterdir())


def test_prediction_goes_by_batch_size(tmp_path):
    rows = "\n".join(json.dumps({"prompt": f"{n}+1=", "answer": str(n + 1)}) for n in range(10))
    (tmp_path / "rows.jsonl").write_text(rows)
    data = GroupDataModule(str(tmp_path / "rows.jsonl"), batch_size=4, eval_batch_size=3)
    sampler = GroupSampler({"self": SelfSource(2, max_new_tokens=2)}, {"accuracy": ExactMatchReward()})
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(accelerator="cpu", default_root_dir=tmp_path, **quiet)
    groups = trainer.predict(GFTLitModule(tiny_loader(), sampler, RFTLoss()), data)
    assert [len(batch.group_index.unique()) for batch in groups] == [4, 4, 2]


def test_what_was_sampled_before_a_failure_is_kept_with_every_column(tmp_path):
    policy = tiny_policy()
    sampler = GroupSampler(
        {"teacher": TeacherSource(), "self": SelfSource(2, max_new_tokens=4)},
        {"accuracy": ExactMatchReward()},
        RewardAdvantage(),
    )
    module, trainer = module_of(policy, sampler), SimpleNamespace(world_size=1, global_rank=0)
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


def test_all_ranks_write_one_format(tmp_path, capsys):
    policy = tiny_policy()
    batch = prompt_batch(policy.tokenizer, ["1+1="], ["2"])
    sampler = GroupSampler({"self": SelfSource(2, max_new_tokens=4)}, {"accuracy": ExactMatchReward()})
    groups = sampler.sample(batch, policy, seed=0)
    write(tmp_path / "groups.parquet", [(groups, batch)], module_of(policy, sampler), world_size=2, others_fit=False)
    assert [path.name for path in tmp_path.iterdir()] == ["groups-1.jsonl"]
    assert "another rank has rows that Parquet cannot hold" in capsys.readouterr().out
