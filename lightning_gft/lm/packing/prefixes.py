"""Which sequences begin with the same tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_gft.types import GroupBatch

_TOKEN_COST = 2**13
"""Entries of an attention matrix that take about as long as all else that a layer does to a token. By the number of
operations it is six times the model's width; what a mask costs beside speaks for less."""


def input_lengths(groups: GroupBatch) -> Tensor:
    """Return ``[N]``, on the CPU, how many tokens of each sequence go into the model: its last one predicts nothing.

    Args:
        groups: ``N`` sequences.
    """
    return (groups.lengths.cpu() - 1).clamp(min=1)


def shared_prefixes(input_ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Put sequences into an order in which those that begin alike are neighbours, and find how much they share.

    In a causal model the state of a token depends on it and those before it alone. So where two sequences begin with
    the same tokens, as with a prompt and maybe the first words of a response, these need to be run only once. In this
    order, what a sequence has in common with the one before is the most that it has in common with any before.

    To share ``c`` of ``l`` tokens does not always pay. It saves these tokens and their attention, but a whole sequence
    is causal without a mask and leaves out half of its attention matrix, which the ``l - c`` others then cannot.

    Args:
        input_ids: ``[N, T]``, on the CPU, right-padded.
        lengths: ``[N]``, on the CPU.

    Returns:
        ``[N]`` row numbers in that order, and ``[N]``, in that order too, how many tokens to share with the sequence
        before; 0 where it does not pay.

    Example:
        >>> ids = torch.tensor([[7, 8, 1, 2], [9, 9, 9, 9], [7, 8, 3, 0]])
        >>> shared_prefixes(ids, torch.tensor([4, 4, 3]))
        (tensor([0, 2, 1]), tensor([0, 2, 0]))
    """
    rows = zip(input_ids.numpy(), lengths.tolist(), strict=True)
    texts = [row[:length].tobytes() for row, length in rows]  # which compare at once, lists token by token
    in_order = sorted(range(len(texts)), key=texts.__getitem__)
    order = torch.tensor(in_order, dtype=torch.long, device=input_ids.device)
    ids, lengths = input_ids[order], lengths[order]
    same = (ids[1:] == ids[:-1]).int().cumprod(dim=1).sum(dim=1)
    common = torch.zeros_like(lengths)
    common[1:] = same.minimum(lengths[1:]).minimum(lengths[:-1])
    pays = common * _TOKEN_COST > ((lengths - common) ** 2 - common**2) / 2
    return order, common.masked_fill_(~pays, 0)
