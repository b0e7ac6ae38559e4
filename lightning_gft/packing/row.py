"""Sequences in one row without padding, with one copy of a prompt for all responses that follow it.

Everything in a transformer but attention treats tokens one by one, so there the sequences of a batch may as well stand
in one row of ``S`` tokens, and a prompt that ``K`` responses share needs to stand there once: its states depend on
itself alone. Attention is then taken in *blocks* of sequences of similar length: each has the tokens that ask (all of a
sequence, or only its response where the prompt is another's copy) and those that they may see (prompt and response).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lightning_gft.types import GroupBatch

_BLOCK_COST = 2**14
"""Entries of an attention matrix that take about as long as one more block: fewer are better spent on padding."""


@dataclass(frozen=True)
class Block:
    """``n`` sequences of similar length, for one call of an attention function.

    Args:
        queries: ``[n, R]`` places in the row of the tokens that ask; padding repeats the last one.
        keys: ``[n, L]`` places of the tokens that they may see, in the order of their positions, padded likewise.
        padding: ``[n, R]``, true where a query only fills up.
        positions: ``[n, R]`` positions of the queries in their sequences.
        causal: Whether they begin at 0 everywhere.
    """

    queries: Tensor
    keys: Tensor
    padding: Tensor
    positions: Tensor
    causal: bool

    def visible(self, window: int | None = None) -> Tensor:
        """Return ``[n, 1, R, L]``, true where a query may see a key.

        Args:
            window: Most positions back, its own included; ``None`` for no limit.
        """
        key = torch.arange(self.keys.shape[1], device=self.keys.device)
        position = self.positions[:, :, None]
        seen = key <= position
        if window is not None:
            seen &= key > position - window
        return seen.unsqueeze(1)


@dataclass(frozen=True)
class Pack:
    """A row of ``S`` tokens and who sees whom in it.

    Args:
        input_ids: ``[1, S]``.
        position_ids: ``[1, S]``, each token's position in its own sequence.
        predictors: ``[M]`` places of the tokens from whose states the response tokens are predicted, in their order.
        blocks: In which attention is taken. Every token asks in one of them.
        queries: ``[Q]`` their queries, one block after the other.
        padding: ``[Q]``, true where a query only fills up.
        answers: ``[S]`` where in ``[Q]`` each token asks.
        plain: Whether the row is nothing but whole sequences of one length, so that blocks need not be put together.
        masks: What :meth:`mask` has made, which all layers share.
    """

    input_ids: Tensor
    position_ids: Tensor
    predictors: Tensor
    blocks: tuple[Block, ...]
    queries: Tensor
    padding: Tensor
    answers: Tensor
    plain: bool
    masks: dict[tuple[int, int | None, torch.dtype], Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.input_ids.shape[1]

    def mask(self, number: int, window: int | None, dtype: torch.dtype, causal_is_implied: bool) -> Tensor | None:
        """Return the ``[n, 1, R, L]`` that is added to a block's attention scores: 0, or minus infinity.

        Args:
            number: Of the block.
            window: See :meth:`Block.visible`.
            dtype: Of the result.
            causal_is_implied: Whether an attention function that gets no mask is causal by itself, and faster so.
        """
        block = self.blocks[number]
        limit = None if window is None or window >= block.keys.shape[1] else window
        if causal_is_implied and block.causal and limit is None:
            return None
        key = number, limit, dtype
        if key not in self.masks:
            hidden = ~block.visible(limit)
            self.masks[key] = torch.zeros_like(hidden, dtype=dtype).masked_fill_(hidden, -torch.inf)
        return self.masks[key]


def prompt_lengths(groups: GroupBatch) -> Tensor:
    """Return ``[N]`` tokens before the first response token; all of a sequence that has none."""
    first = groups.response_mask.int().argmax(dim=1)
    return torch.where(groups.response_mask.any(dim=1), first, groups.lengths)


def prompt_owners(groups: GroupBatch, prompts: Tensor) -> Tensor:
    """Return ``[N]``, for each sequence the first one of its group with the very same prompt.

    Args:
        groups: ``N`` sequences.
        prompts: ``[N]`` lengths of their prompts.
    """
    width = int(prompts.max()) if len(groups) else 0
    column = torch.arange(width, device=prompts.device)
    ids = groups.input_ids[:, :width].masked_fill(column >= prompts[:, None], -1)
    same = torch.unique(torch.cat([groups.group_index[:, None], ids], dim=1), dim=0, return_inverse=True)[1]
    numbers = torch.arange(len(groups), device=prompts.device)
    return torch.full_like(numbers, len(groups)).scatter_reduce_(0, same, numbers, "amin")[same]


def pack(groups: GroupBatch) -> Pack:
    """Put sequences into one row; those of a group use one copy of their prompt.

    Args:
        groups: ``N`` sequences, at least one.

    Example:
        >>> from lightning_gft.batching import without_tokens
        >>> from lightning_gft.types import GroupBatch
        >>> ids = torch.tensor([[7, 8, 1, 2], [7, 8, 3, 0]])
        >>> number = torch.zeros(2)
        >>> groups = GroupBatch(
        ...     ids, ids != 0, (ids > 0) & (ids < 7), number.long(), number.long(), number, number, number.bool()
        ... )
        >>> row = pack(groups)
        >>> row.input_ids, row.position_ids
        (tensor([[7, 8, 1, 2, 3]]), tensor([[0, 1, 2, 3, 2]]))
        >>> row.predictors  # both responses follow the prompt's last token
        tensor([1, 2, 1])
    """
    lengths, prompts = groups.lengths, prompt_lengths(groups)
    numbers = torch.arange(len(groups), device=lengths.device)
    owners = prompt_owners(groups, prompts)
    heads = torch.where(owners == numbers, 0, prompts)  # how much of a sequence stands elsewhere
    own = lengths - heads
    starts = own.cumsum(0) - own
    column = torch.arange(groups.input_ids.shape[1], device=lengths.device)
    places = (starts - heads)[:, None] + column
    places = torch.where(column < heads[:, None], starts[owners, None] + column, places)
    written = groups.attention_mask & (column >= heads[:, None])
    blocks = tuple(_block(places, rows, heads, lengths) for rows in _similar(heads.tolist(), lengths.tolist()))
    queries = torch.cat([block.queries.flatten() for block in blocks])
    padding = torch.cat([block.padding.flatten() for block in blocks])
    asking = (~padding).nonzero().squeeze(1)
    answers = torch.empty_like(asking)
    answers[queries[asking]] = asking
    return Pack(
        input_ids=groups.input_ids[written].unsqueeze(0),
        position_ids=column.expand_as(written)[written].unsqueeze(0),
        predictors=places[:, :-1][groups.response_mask[:, 1:]],
        blocks=blocks,
        queries=queries,
        padding=padding,
        answers=answers,
        plain=len(blocks) == 1 and len(queries) == len(asking),
    )


def _block(places: Tensor, rows: Sequence[int], heads: Tensor, lengths: Tensor) -> Block:
    index = torch.tensor(rows, device=places.device)
    chosen, offsets, last = places[index], heads[index], lengths[index, None] - 1
    key = torch.arange(int(last.max()) + 1, device=places.device)
    query = offsets[:, None] + key[: int((last.squeeze(1) - offsets).max()) + 1]
    positions = query.minimum(last)
    return Block(
        queries=chosen.gather(1, positions),
        keys=chosen.gather(1, key.minimum(last)),
        padding=query > last,
        positions=positions,
        causal=not offsets.any(),
    )


def _similar(heads: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Split row numbers into whole sequences and those that follow a prompt elsewhere, and both by length."""
    whole = [n for n, head in enumerate(heads) if not head]
    following = [n for n, head in enumerate(heads) if 0 < head < lengths[n]]
    return [bucket for rows in (whole, following) for bucket in _buckets(rows, heads, lengths)]


def _buckets(rows: Sequence[int], heads: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Begin another block where filling this one up would cost more than that."""
    buckets: list[list[int]] = []
    width = height = 0
    for n in sorted(rows, key=lambda n: (lengths[n] - heads[n], lengths[n])):
        queries, keys = lengths[n] - heads[n], lengths[n]
        taller, wider = max(height, queries), max(width, keys)
        count = len(buckets[-1]) if buckets else 0
        added = taller * wider * (count + 1) - height * width * count - queries * keys
        if not buckets or added > _BLOCK_COST:
            buckets.append([n])
            height, width = queries, keys
        else:
            buckets[-1].append(n)
            height, width = taller, wider
    return buckets
