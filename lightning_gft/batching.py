"""Micro-batches: pieces of a batch that fit into memory."""

from __future__ import annotations

import torch

from lightning_gft.types import GroupBatch


def micro_batch_rows(groups: GroupBatch, max_tokens: int) -> list[torch.Tensor]:
    """Split sequences into micro-batches of at most ``max_tokens`` tokens each, padding included.

    Sequences are ordered by length, so that a micro-batch holds little padding. One that is longer than the budget by
    itself gets a micro-batch of its own.

    Args:
        groups: ``N`` sequences.
        max_tokens: Token budget.

    Returns:
        For each micro-batch its row numbers.
    """
    order = groups.lengths.argsort(stable=True)
    lengths = groups.lengths[order].tolist()
    batches, start = [], 0
    for stop in range(1, len(order) + 1):
        # Lengths ascend, so the next sequence would be the longest of the micro-batch.
        if stop == len(order) or lengths[stop] * (stop + 1 - start) > max_tokens:
            batches.append(order[start:stop])
            start = stop
    return batches


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
