"""Batches of sequences: rows of them, and copies elsewhere."""

from __future__ import annotations

from dataclasses import replace

import torch

from lightning_gft import GroupBatch
from lightning_gft.types import Sequences
from tests.reference import random_groups


def batch(seed: int = 0) -> GroupBatch:
    groups, logprobs = random_groups(seed)
    texts = [f"text {n}" for n in range(len(groups))]
    return replace(
        groups,
        reward_parts={"one": groups.rewards, "two": groups.rewards * 2},
        prompts=texts,
        responses=texts[::-1],
        sampling_logprobs=logprobs,
    )


def test_lengths():
    groups = batch()
    for n in range(len(groups)):
        assert groups.lengths[n] == sum(groups.attention_mask[n].tolist())
        assert groups.response_lengths[n] == sum(groups.response_mask[n].tolist())
    assert isinstance(groups, Sequences)


def test_select_takes_rows_without_the_padding_that_they_do_not_need():
    groups, rows = batch(), torch.tensor([4, 0, 4])
    some = groups.select(rows)
    length = int(groups.lengths[rows].max())
    assert some.input_ids.shape == (3, length)
    for name in ("input_ids", "attention_mask", "response_mask", "sampling_logprobs"):
        assert torch.equal(getattr(some, name), getattr(groups, name)[rows][:, :length])
    for name in ("group_index", "source", "rewards", "advantages", "finished"):
        assert torch.equal(getattr(some, name), getattr(groups, name)[rows])
    assert torch.equal(some.reward_parts["two"], groups.reward_parts["two"][rows])
    assert some.prompts == ["text 4", "text 0", "text 4"]
    assert some.teacher_logprobs is None


def test_select_nothing():
    none = batch().select(torch.zeros(0, dtype=torch.long))
    assert (len(none), none.responses) == (0, [])
    assert none.input_ids.shape == (0, 1)


def test_select_where_there_are_no_texts():
    groups, _ = random_groups(1)
    assert groups.select(torch.tensor([1])).prompts == []


def test_to_moves_every_tensor_and_no_text():
    moved = batch().to("meta")
    tensors = [value for value in vars(moved).values() if isinstance(value, torch.Tensor)]
    assert {tensor.device.type for tensor in (*tensors, *moved.reward_parts.values())} == {"meta"}
    assert len(tensors) == 9
    assert moved.prompts == batch().prompts
    assert isinstance(moved, GroupBatch)
