"""The GSM8K configuration on the real data, with a policy that needs no download."""

from __future__ import annotations

import re

import pyarrow.parquet as pq
import pytest
import yaml

from lightning_gft import ExpertSource, GroupDataModule, GroupSampler, NumericReward, RewardAdvantage, ScratchPolicy
from lightning_gft.cli import main
from tests.cli.command import ROOT, column, logged

DATA = ROOT.parent / "shared/data/gsm8k"
TRAIN, TEST = DATA / "train-00000-of-00001.parquet", DATA / "test-00000-of-00001.parquet"
pytestmark = pytest.mark.skipif(not TRAIN.exists(), reason="GSM8K is not there")


@pytest.fixture(scope="module")
def alphabet() -> str:
    texts = [row[name] for path in (TRAIN, TEST) for row in pq.read_table(path).to_pylist() for name in row]
    return "".join(sorted(set("".join(texts)) | set("Question: Answer\n")))


@pytest.fixture
def overlay(alphabet, tmp_path) -> str:
    own = {"class_path": "lightning_gft.SelfSource", "init_args": {"max_new_tokens": 8, "num_generations": 2}}
    config = {
        "trainer": {
            "callbacks": None,
            "accelerator": "cpu",
            "devices": 1,
            "precision": "32-true",
            "max_steps": 2,
            "val_check_interval": 2,
        },
        "model": {
            "policy": {
                "class_path": "lightning_gft.ScratchPolicy",
                "init_args": {"alphabet": alphabet, "config": {"hidden_size": 32, "num_hidden_layers": 2}},
            },
            "sampler": {
                "init_args": {"sources": {"expert": {"class_path": "lightning_gft.ExpertSource"}, "self": own}}
            },
            "evaluation": {"num_samples": 2, "max_new_tokens": 8},
        },
        "data": {
            "init_args": {
                "path": str(TRAIN),
                "name": None,
                "test_split": None,
                "test_path": str(TEST),
                "max_train_rows": 16,
                "max_val_rows": 4,
                "batch_size": 4,
                "max_prompt_length": 1024,
                "max_response_length": 1024,
            }
        },
    }
    path = tmp_path / "overlay.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def test_config_trains_on_the_real_columns(overlay, tmp_path):
    config = str(ROOT / "configs/gsm8k.yaml")
    quiet = "--trainer.enable_progress_bar=false"
    main(["fit", "--config", config, "--config", overlay, f"--trainer.default_root_dir={tmp_path}", quiet])
    rows = logged(tmp_path)
    assert column(rows, "train/reward_by_source/expert") == [1.0, 1.0]
    assert column(rows, "train/reward_by_source/self") == [0.0, 0.0]  # an untrained policy knows nothing
    assert len(column(rows, "val/greedy_accuracy")) == 1
    assert all(norm > 0 for norm in column(rows, "train/grad_norm"))


@pytest.mark.parametrize(("path", "rows"), [(TEST, 1319), pytest.param(TRAIN, 7473, marks=pytest.mark.slow)])
def test_every_expert_answer_is_right_and_every_group_well_formed(alphabet, path, rows):
    policy = ScratchPolicy(alphabet, config={"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}).load()
    data = GroupDataModule(
        path=str(path),
        prompt_column="question",
        expert_column="answer",
        answer_marker="####",
        prompt_template="Question: {prompt}\nAnswer:\n",
        max_prompt_length=2048,
        max_response_length=2048,
        batch_size=256,
        shuffle=False,
    )
    data.tokenizer = policy.tokenizer
    data.setup("fit")
    sampler = GroupSampler({"expert": ExpertSource()}, {"accuracy": NumericReward("####")}, RewardAdvantage())
    right, answers = 0, iter(pq.read_table(path).to_pylist())
    for batch in data.train_dataloader():
        groups = sampler.sample(batch, policy, seed=0)
        right += int(groups.rewards.sum())
        for n, row in zip(range(len(groups)), answers, strict=False):
            response = groups.input_ids[n][groups.response_mask[n]].tolist()
            prompt = groups.input_ids[n][groups.attention_mask[n] & ~groups.response_mask[n]].tolist()
            assert policy.decode(prompt) == f"Question: {row['question']}\nAnswer:\n"
            assert policy.decode(response[:-1]) == row["answer"]
            assert response[-1] == policy.tokenizer.eos_token_id
            assert batch.references[n] == re.split("#### ", row["answer"])[1].strip()
    assert right == rows
