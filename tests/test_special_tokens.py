"""Texts of responses with and without special tokens, and which of them a reward gets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_gft import (
    ExpertSource,
    FormatReward,
    GroupDataModule,
    GroupSampler,
    Policy,
    Reward,
    RewardAdvantage,
    SelfSource,
)
from lightning_gft.preflight.data import check_data
from tests.tiny import prompt_batch, tiny_policy


class Seen(Reward):
    """Remembers the texts that it was given."""

    def __init__(self, keeps: bool) -> None:
        super().__init__(special_tokens=keeps)
        self.texts: list[str] = []

    def __call__(self, *, responses: Sequence[str], **columns: Sequence[Any]) -> Tensor:
        self.texts = list(responses)
        return torch.ones(len(responses))


@pytest.fixture(scope="module")
def policy() -> Policy:
    policy = tiny_policy(vocab_size=40)  # two more than its tokenizer has so far
    policy.tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    return policy


def test_decode_keeps_all_special_tokens_but_those_that_end_a_response(policy: Policy):
    eos, pad = policy.tokenizer.eos_token_id, policy.tokenizer.pad_token_id
    ids = policy.tokenizer.encode("<think>1+1</think>2")
    for behind in ([], [eos], [eos, pad, pad], [pad]):
        assert policy.decode([*ids, *behind]) == "1+12"
        assert policy.decode([*ids, *behind], skip_special_tokens=False) == "<think>1+1</think>2"
    assert policy.decode([eos, *ids, eos], skip_special_tokens=False) == "<eos><think>1+1</think>2"
    assert policy.decode([], skip_special_tokens=False) == policy.decode([eos], skip_special_tokens=False) == ""


def test_each_reward_gets_the_text_that_it_asks_for(policy: Policy):
    batch = prompt_batch(policy.tokenizer, ["1+1="], ["2"], {"expert": [["<think>1</think>2"]]})
    rewards = {"raw": Seen(keeps=True), "plain": Seen(keeps=False)}
    sampler = GroupSampler({"expert": ExpertSource()}, rewards, RewardAdvantage())
    groups = sampler.sample(batch, policy, seed=0)
    assert rewards["raw"].texts == ["<think>1</think>2"]
    assert rewards["plain"].texts == groups.responses == ["12"]


def test_a_policy_that_only_decodes_plainly_will_do_where_no_reward_asks_for_more(policy: Policy, monkeypatch):
    monkeypatch.setattr(policy, "decode", lambda token_ids: "2")
    batch = prompt_batch(policy.tokenizer, ["1+1="], ["2"])
    reward = Seen(keeps=False)
    GroupSampler({"self": SelfSource(2, 3)}, {"plain": reward}).sample(batch, policy, seed=0)
    assert reward.texts == ["2", "2"]


def test_stop_strings_stand_in_both_texts(policy: Policy):
    batch = prompt_batch(policy.tokenizer, ["1+1=", "2="], ["2", "2"])
    rewards = {"raw": Seen(keeps=True), "plain": Seen(keeps=False)}
    sampler = GroupSampler({"self": SelfSource(20, 30, stop_strings=["</think>", "5"])}, rewards)
    groups = sampler.sample(batch, policy, seed=0)
    stopped = [text for text in rewards["raw"].texts if text.endswith(("</think>", "5"))]
    assert any(text.endswith("</think>") for text in stopped)
    assert any(text.endswith("5") for text in stopped)
    assert len(stopped) <= int(groups.finished.sum())
    assert all("</think>" not in text for text in rewards["plain"].texts)


def test_demonstrations_are_tried_on_the_text_that_a_reward_asks_for(policy: Policy, tmp_path, recwarn):
    row = {"prompt": "1+1=", "answer": "2", "expert": "<think>1+1</think>2"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    data = GroupDataModule(str(tmp_path / "rows.jsonl"), expert_column="expert")
    data.tokenizer = policy.tokenizer
    data.setup("fit")
    for reward, warnings in (
        (FormatReward("<think>.*</think>2", special_tokens=True), 0),
        (FormatReward("<think>.*</think>2"), 1),
    ):
        sampler = GroupSampler({"expert": ExpertSource()}, {"format": reward}, RewardAdvantage())
        recwarn.clear()
        check_data(data, [sampler], 16, policy.tokenizer)
        assert len([w for w in recwarn if "demonstrations gets any reward" in str(w.message)]) == warnings
