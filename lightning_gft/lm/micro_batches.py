"""Splitting a batch of sequences into micro-batches that fit into memory."""

from __future__ import annotations

from torch import Tensor

from lightning_gft.lm.micro_batch import MicroBatch, Padded, token_numbers
from lightning_gft.lm.packing import split_into_packs
from lightning_gft.types import Sequences


def micro_batches(sequences: Sequences, max_tokens: int, longest_pack: int | None = None) -> list[MicroBatch]:
    """Split sequences into micro-batches that run at most ``max_tokens`` tokens each.

    Micro-batches hold sequences of similar length. A sequence longer than the budget gets a micro-batch of its own.

    Args:
        sequences: ``N`` sequences of prompts and responses.
        max_tokens: Token budget of a micro-batch. A pack has no padding and counts tokens that sequences share once;
            counted once per sequence, they may be at most eight times the budget. In padded micro-batches, padding
            counts too.
        longest_pack: Longest sequence, in tokens, that a model can run in a pack; ``None`` for no limit, 0 if it
            can run none.

    Example:
        >>> import torch
        >>> ids = torch.tensor([[7, 8, 1, 2, 5], [7, 8, 3, 4, 0]])
        >>> mask = torch.tensor([[False, False, True, True, True], [False, False, True, True, False]])
        >>> [pack] = micro_batches(Sequences(ids, ids != 0, mask), max_tokens=6)
        >>> pack.num_tokens, pack.index, pack.targets  # the prompt runs once, and last tokens predict nothing
        (5, tensor([0, 1, 2, 3, 4]), tensor([1, 2, 5, 3, 4]))
    """
    lengths = sequences.lengths.cpu()
    short = lengths >= 0 if longest_pack is None else lengths <= longest_pack
    packs = split_into_packs(sequences, short.nonzero().squeeze(1), max_tokens)
    return [*packs, *_split_padded(sequences, (~short).nonzero().squeeze(1), max_tokens)]


def _split_padded(sequences: Sequences, rows: Tensor, max_tokens: int) -> list[Padded]:
    lengths, numbers = sequences.lengths.cpu(), token_numbers(sequences.response_mask)
    rows = rows[lengths[rows].argsort(stable=True)]
    widths = lengths[rows].tolist()
    batches, start = [], 0
    for stop in range(1, len(rows) + 1):
        # Lengths ascend, so the next sequence would be the longest of the micro-batch.
        if stop == len(rows) or widths[stop] * (stop + 1 - start) > max_tokens:
            batches.append(_padded(sequences, numbers, rows[start:stop], widths[stop - 1]))
            start = stop
    return batches


def _padded(sequences: Sequences, numbers: Tensor, rows: Tensor, length: int) -> Padded:
    rows = rows.to(numbers.device)
    ids, attention, response, numbers = (
        tensor[rows, :length]
        for tensor in (sequences.input_ids, sequences.attention_mask, sequences.response_mask, numbers)
    )
    return Padded(numbers[response], ids, attention, response)
