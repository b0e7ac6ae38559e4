"""Micro-batches: pieces of a batch that fit into memory."""

from __future__ import annotations

import torch

from lightning_gft.lm.packing import input_lengths, shared_prefixes
from lightning_gft.types import GroupBatch

_MOST_KEYS = 8
"""Keys that a packed micro-batch may attend to, for each token of the budget: every sequence gathers those of what it
shares. A group of eight with a long prompt comes near it."""


def micro_batch_rows(groups: GroupBatch, max_tokens: int, packed: bool = False) -> list[torch.Tensor]:
    """Split sequences into micro-batches of at most ``max_tokens`` tokens each.

    Sequences are ordered by length, so that a micro-batch holds little padding; packed, those that share tokens stay
    together. One that is longer than the budget by itself gets a micro-batch of its own.

    Args:
        groups: ``N`` sequences.
        max_tokens: Token budget.
        packed: Whether there is no padding, and tokens that sequences share count once; else padding counts. If each
            sequence counts all of its own, those of a micro-batch have at most eight times ``max_tokens``.

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
    batches: list[list[int]] = []
    tokens = keys = 0
    for n, length, shared in _families_by_length(groups):
        tokens, keys = tokens + length - shared, keys + length
        if not batches or tokens > max_tokens or keys > _MOST_KEYS * max_tokens:
            batches.append([])
            tokens = keys = length  # nothing that it shares is in the same micro-batch
        batches[-1].append(n)
    return [torch.tensor(rows, device=groups.input_ids.device) for rows in batches]


def _families_by_length(groups: GroupBatch) -> list[tuple[int, int, int]]:
    """Return number, length and shared tokens of each sequence; a micro-batch of similar lengths has few blocks."""
    lengths = input_lengths(groups)
    order, shared = shared_prefixes(groups.input_ids.cpu(), lengths)
    families: list[list[tuple[int, int, int]]] = []
    for sequence in zip(order.tolist(), lengths[order].tolist(), shared.tolist(), strict=True):
        if not sequence[2]:
            families.append([])
        families[-1].append(sequence)
    families.sort(key=lambda family: max(length for _, length, _ in family))
    return [sequence for family in families for sequence in family]


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
