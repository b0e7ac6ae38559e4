"""Micro-batches: pieces of a batch that fit into memory."""

from __future__ import annotations

import torch

from lightning_gft.packing import run_lengths, shared_prefixes
from lightning_gft.types import GroupBatch


def micro_batch_rows(groups: GroupBatch, max_tokens: int, packed: bool = False) -> list[torch.Tensor]:
    """Split sequences into micro-batches of at most ``max_tokens`` tokens each.

    Sequences are ordered so that a micro-batch holds little padding or, packed, few tokens twice. One that is longer
    than the budget by itself gets a micro-batch of its own.

    Args:
        groups: ``N`` sequences.
        max_tokens: Token budget.
        packed: Whether there is no padding, and what several sequences begin with counts once; else padding counts.

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
    lengths = run_lengths(groups)
    order, shared = shared_prefixes(groups.input_ids.cpu(), lengths)
    batches: list[list[int]] = []
    size = 0
    for n, length, common in zip(order.tolist(), lengths[order].tolist(), shared.tolist(), strict=True):
        size += length - common
        if not batches or size > max_tokens:
            batches.append([])
            size = length  # nothing before it is in the same micro-batch
        batches[-1].append(n)
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
