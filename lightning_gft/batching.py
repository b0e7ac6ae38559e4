"""Micro-batches: pieces of a batch that fit into memory."""

from __future__ import annotations

import torch

from lightning_gft.packing import prompt_lengths, prompt_owners
from lightning_gft.types import GroupBatch


def micro_batch_rows(groups: GroupBatch, max_tokens: int, packed: bool = False) -> list[torch.Tensor]:
    """Split sequences into micro-batches of at most ``max_tokens`` tokens each.

    Sequences are ordered by length, so that a micro-batch holds little padding. One that is longer than the budget by
    itself gets a micro-batch of its own.

    Args:
        groups: ``N`` sequences.
        max_tokens: Token budget.
        packed: Whether there is no padding and sequences of a group share their prompt, which then counts once; else
            padding counts.

    Returns:
        For each micro-batch its row numbers.
    """
    return _packed_rows(groups, max_tokens) if packed else _padded_rows(groups, max_tokens)


def _padded_rows(groups: GroupBatch, max_tokens: int) -> list[torch.Tensor]:
    order = groups.lengths.argsort(stable=True)
    lengths = groups.lengths[order].tolist()
    batches, start = [], 0
    for stop in range(1, len(order) + 1):
        # Lengths ascend, so the next sequence would be the longest of the micro-batch.
        if stop == len(order) or lengths[stop] * (stop + 1 - start) > max_tokens:
            batches.append(order[start:stop])
            start = stop
    return batches


def _packed_rows(groups: GroupBatch, max_tokens: int) -> list[torch.Tensor]:
    if not len(groups):
        return []
    prompts = prompt_lengths(groups)
    owners, prompt, length = (t.tolist() for t in (prompt_owners(groups, prompts), prompts, groups.lengths))
    longest: dict[int, int] = {}
    for owner, tokens in zip(owners, length, strict=True):
        longest[owner] = max(longest.get(owner, 0), tokens)
    batches: list[list[int]] = []
    size, present = 0, -1
    for n in sorted(range(len(groups)), key=lambda n: (longest[owners[n]], owners[n], length[n])):
        added = length[n] - (prompt[n] if owners[n] == present else 0)
        if not batches or size + added > max_tokens:
            batches.append([])
            size, added = 0, length[n]
        batches[-1].append(n)
        size, present = size + added, owners[n]
    return [torch.tensor(rows, device=groups.input_ids.device) for rows in batches]


def without_tokens(like: GroupBatch) -> GroupBatch:
    """Return a micro-batch of one prompt token and no response token.

    Running it costs next to nothing and gives every parameter a gradient of zero, which keeps a process that has no
    work left in step with those that have.

    Args:
        like: A batch, maybe empty, on the same device and in the same precision.
    """
    device = like.input_ids.device
    nothing, number = torch.zeros(1, 1, device=device), torch.zeros(1, device=device, dtype=like.advantages.dtype)
    return GroupBatch(
        input_ids=nothing.long(),
        attention_mask=~nothing.bool(),
        response_mask=nothing.bool(),
        group_index=number.long(),
        source=number.long(),
        rewards=number,
        advantages=number,
        finished=number.bool(),
        weights=number,
        old_logprobs=nothing,
        ref_logprobs=nothing,
    )
