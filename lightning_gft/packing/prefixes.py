"""Which sequences begin with the same tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_gft.types import GroupBatch

_TOKEN_COST = 2**12
"""Entries of an attention matrix that take about as long as all else that is done to a token."""


def run_lengths(groups: GroupBatch) -> Tensor:
    """Return ``[N]``, on the CPU, how many tokens of each sequence have to be run: its last one predicts nothing.

    Args:
        groups: ``N`` sequences.
    """
    return (groups.lengths.cpu() - 1).clamp(min=1)


def shared_prefixes(input_ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Put sequences into an order in which those that begin alike follow one another.

    In a causal model the state of a token depends on it and those before it alone. So where two sequences begin with
    the same tokens, as with a prompt and maybe the first words of a response, these need to be run only once. In
    lexicographic order, what a sequence shares with the one before is the most that it shares with any before.

    Args:
        input_ids: ``[N, T]``, on the CPU, right-padded.
        lengths: ``[N]``, on the CPU.

    Returns:
        ``[N]`` row numbers in that order, and ``[N]``, in that order too, how many tokens to take from the sequence
        before: 0 where that does not pay, since attention over a whole sequence is causal by itself and leaves out the
        half of its matrix that one from the middle of a sequence on has to mask.

    Example:
        >>> ids = torch.tensor([[7, 8, 1, 2], [9, 9, 9, 9], [7, 8, 3, 0]])
        >>> shared_prefixes(ids, torch.tensor([4, 4, 3]))
        (tensor([0, 2, 1]), tensor([0, 2, 0]))
    """
    # Bytes compare at once what lists compare token by token; the largest comes first, as in numbers on paper.
    big_endian = input_ids.numpy().astype(">u4")
    texts = [row[:length].tobytes() for row, length in zip(big_endian, lengths.tolist(), strict=True)]
    order = torch.tensor(sorted(range(len(texts)), key=texts.__getitem__), dtype=torch.long)
    ids, lengths = input_ids[order], lengths[order]
    same = (ids[1:] == ids[:-1]).int().cumprod(dim=1).sum(dim=1)
    common = torch.zeros_like(lengths)
    common[1:] = same.minimum(lengths[1:]).minimum(lengths[:-1])
    pays = common * _TOKEN_COST > (lengths - common) ** 2 / 2
    return order, common.masked_fill_(~pays, 0)
