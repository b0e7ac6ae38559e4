"""Which sequences begin with the same tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_gft.lm.micro_batch import token_numbers
from lightning_gft.types import Sequences

_TOKEN_COST = 2**13
"""Entries of an attention matrix that take about as long as all else that a layer does to a token. By the number of
operations it is six times the model's width; what a mask costs beside speaks for less."""


@dataclass(frozen=True)
class SharedPrefixes:
    """``N`` sequences in an order in which those that begin alike are neighbours; all of it on the CPU.

    In a causal model the state of a token depends on it and those before it alone. So where two sequences begin with
    the same tokens, as with a prompt and maybe the first words of a response, these need to be run only once. In this
    order, what a sequence has in common with the one before is the most that it has in common with any before.

    Args:
        input_ids: ``[N, T]``.
        response_mask: ``[N, T]``.
        token_numbers: ``[N, T]``, numbers of the response tokens in the batch that the sequences come from.
        lengths: ``[N]``, how many tokens of each go into the model: the last one predicts nothing.
        shared: ``[N]``, how many tokens to share with the sequence before; 0 where it does not pay.
    """

    input_ids: Tensor
    response_mask: Tensor
    token_numbers: Tensor
    lengths: Tensor
    shared: Tensor


def sort_by_prefix(sequences: Sequences, rows: Tensor) -> SharedPrefixes:
    """Sort some ``rows`` ``[N]`` of a batch, given on the CPU.

    Example:
        >>> ids = torch.tensor([[7, 8, 1, 2], [9, 9, 9, 9], [7, 8, 3, 4]])
        >>> prefixes = sort_by_prefix(Sequences(ids, ids != 0, (ids > 0) & (ids < 7)), torch.arange(3))
        >>> prefixes.input_ids, prefixes.shared
        (tensor([[7, 8, 1, 2],
                [7, 8, 3, 4],
                [9, 9, 9, 9]]), tensor([0, 2, 0]))
    """
    # On a GPU, nearly every line here and in the layout of a pack would wait for it.
    mask, lengths = sequences.response_mask.cpu(), (sequences.lengths.cpu()[rows] - 1).clamp(min=1)
    ids, numbers, mask = sequences.input_ids.cpu()[rows], token_numbers(mask)[rows], mask[rows]
    texts = [row[:length].tobytes() for row, length in zip(ids.numpy(), lengths.tolist(), strict=True)]
    in_order = sorted(range(len(texts)), key=texts.__getitem__)  # bytes compare at once, lists token by token
    order = torch.tensor(in_order, dtype=torch.long, device="cpu")  # a model's loading has another default
    ids, lengths = ids[order], lengths[order]
    return SharedPrefixes(ids, mask[order], numbers[order], lengths, _shared(ids, lengths))


def _shared(ids: Tensor, lengths: Tensor) -> Tensor:
    """Return how many tokens of each sequence to share with the one before.

    To share ``c`` of ``l`` tokens does not always pay. It saves these tokens and their attention, but a whole sequence
    is causal without a mask and leaves out half of its attention matrix, which the ``l - c`` others then cannot.
    """
    same = (ids[1:] == ids[:-1]).int().cumprod(dim=1).sum(dim=1)
    common = torch.zeros_like(lengths)
    common[1:] = same.minimum(lengths[1:]).minimum(lengths[:-1])
    pays = common * _TOKEN_COST > ((lengths - common) ** 2 - common**2) / 2
    return common.masked_fill_(~pays, 0)
