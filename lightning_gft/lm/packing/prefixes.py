"""Finding sequences that begin with the same tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_gft.lm.micro_batch import token_numbers
from lightning_gft.types import Sequences

_TOKEN_COST = 2**13
"""Entries of an attention matrix that take as long as the rest of a layer's work on one token. The number of operations
alone would make it six times the model's width; the cost of a mask makes it less."""


@dataclass(frozen=True)
class SharedPrefixes:
    """``N`` sequences sorted so that those with a common prefix are neighbours; all tensors are on the CPU.

    In a causal model, the state of a token depends only on that token and those before it. So where two sequences begin
    with the same tokens, such as a prompt and perhaps the first words of a response, these run only once. In this
    order, a sequence has no longer prefix in common with an earlier sequence than with the one before it.

    Args:
        input_ids: ``[N, T]``, the tokens in sorted order.
        response_mask: ``[N, T]``, true at response tokens.
        token_numbers: ``[N, T]``, numbers of the response tokens in the batch that the sequences come from.
        lengths: ``[N]``, tokens of each sequence that the model runs: all but the last, which predicts nothing.
        shared: ``[N]``, tokens to share with the sequence before; 0 where sharing does not pay.
    """

    input_ids: Tensor
    response_mask: Tensor
    token_numbers: Tensor
    lengths: Tensor
    shared: Tensor


def sort_by_prefix(sequences: Sequences, rows: Tensor) -> SharedPrefixes:
    """Sort some ``rows`` ``[N]`` of a batch, whose numbers are on the CPU.

    Example:
        >>> ids = torch.tensor([[7, 8, 1, 2], [9, 9, 9, 9], [7, 8, 3, 4]])
        >>> prefixes = sort_by_prefix(Sequences(ids, ids != 0, (ids > 0) & (ids < 7)), torch.arange(3))
        >>> prefixes.input_ids, prefixes.shared
        (tensor([[7, 8, 1, 2],
                [7, 8, 3, 4],
                [9, 9, 9, 9]]), tensor([0, 2, 0]))
    """
    # On a GPU, nearly every line here and in the layout of a pack would synchronise with the device.
    mask, lengths = sequences.response_mask.cpu(), (sequences.lengths.cpu()[rows] - 1).clamp(min=1)
    ids, numbers, mask = sequences.input_ids.cpu()[rows], token_numbers(mask)[rows], mask[rows]
    texts = [row[:length].tobytes() for row, length in zip(ids.numpy(), lengths.tolist(), strict=True)]
    in_order = sorted(range(len(texts)), key=texts.__getitem__)  # bytes compare at once, lists token by token
    order = torch.tensor(in_order, dtype=torch.long, device="cpu")  # loading a model sets another default device
    ids, lengths = ids[order], lengths[order]
    return SharedPrefixes(ids, mask[order], numbers[order], lengths, _shared(ids, lengths))


def _shared(ids: Tensor, lengths: Tensor) -> Tensor:
    """Return how many tokens of each sequence to share with the one before.

    Sharing ``c`` of ``l`` tokens does not always pay. It saves these tokens and their attention. But a whole sequence
    is causal without a mask, which skips half of its attention matrix; the remaining ``l - c`` tokens cannot skip it.
    """
    same = (ids[1:] == ids[:-1]).int().cumprod(dim=1).sum(dim=1)
    common = torch.zeros_like(lengths)
    common[1:] = same.minimum(lengths[1:]).minimum(lengths[:-1])
    pays = common * _TOKEN_COST > ((lengths - common) ** 2 - common**2) / 2
    return common.masked_fill_(~pays, 0)
