"""Sequences in one row without padding, in which they share the tokens that they begin with.

Everything in a transformer but attention treats tokens one by one, so there the sequences of a batch may as well stand
in one row of ``S`` tokens, and what several of them begin with needs to stand there once. Attention is then taken in
*blocks* of sequences of similar length: each has the tokens that ask (those that no other sequence has asked for
already) and those that they may see (all of the sequence).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from lightning_gft.lm.packing.block import Block, lay_blocks
from lightning_gft.lm.packing.prefixes import input_lengths, shared_prefixes
from lightning_gft.types import GroupBatch


@dataclass(frozen=True, eq=False)
class Pack:
    """A row of ``S`` tokens and who sees whom in it.

    Args:
        input_ids: ``[1, S]``.
        position_ids: ``[1, S]``, each token's position in its own sequence.
        predictors: ``[M]`` places of the tokens from whose states the response tokens are predicted, in their order.
        blocks: In which attention is taken. Every token asks in one of them.
        queries: ``[Q]`` places of the tokens that ask, one block after the other.
        keys: ``[K]`` places of the tokens that they may see, likewise.
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
    keys: Tensor
    padding: Tensor
    answers: Tensor
    plain: bool
    masks: dict[tuple[int, int | None, torch.dtype], Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.input_ids.shape[1]

    def to(self, device: torch.device) -> Self:
        """Return it with its tensors on a device."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, **moved, masks={})

    def mask(self, number: int, window: int | None, dtype: torch.dtype, causal_is_implied: bool) -> Tensor | None:
        """Return the ``[n, 1, R, L]`` that is added to a block's attention scores: 0, or minus infinity.

        Args:
            number: Of the block.
            window: See :meth:`Block.visible`.
            dtype: Of the result.
            causal_is_implied: Whether an attention function that gets no mask is causal by itself, and faster so.
        """
        block = self.blocks[number]
        limit = None if window is None or window >= block.width else window
        if causal_is_implied and block.causal and limit is None:
            return None
        key = number, limit, dtype
        if key not in self.masks:
            hidden = ~block.visible(limit, self.queries.device)
            self.masks[key] = torch.zeros_like(hidden, dtype=dtype).masked_fill_(hidden, -torch.inf)
        return self.masks[key]


def pack(groups: GroupBatch) -> Pack:
    """Put sequences into one row, in which what several begin with stands once, where that pays.

    Args:
        groups: ``N`` sequences, at least one.

    Example:
        >>> from lightning_gft.lm.micro_batches import without_tokens
        >>> from lightning_gft.types import GroupBatch
        >>> ids = torch.tensor([[7, 8, 1, 2, 5], [7, 8, 3, 4, 0]])
        >>> number = torch.zeros(2)
        >>> groups = GroupBatch(
        ...     ids, ids != 0, (ids > 0) & (ids < 7), number.long(), number.long(), number, number, number.bool()
        ... )
        >>> row = pack(groups)
        >>> row.input_ids, row.position_ids  # without the last tokens, which predict nothing
        (tensor([[7, 8, 1, 2, 3]]), tensor([[0, 1, 2, 3, 2]]))
        >>> row.predictors  # both responses follow the prompt's last token
        tensor([1, 2, 3, 1, 4])
    """
    # Who stands where is found out on the CPU: on a GPU, nearly every line would wait for it.
    ids, lengths, answered = groups.input_ids.cpu(), input_lengths(groups), groups.response_mask.cpu()
    order, shared = shared_prefixes(ids, lengths)
    ids, lengths = ids[order], lengths[order]
    column = torch.arange(ids.shape[1], device=ids.device)  # a model's loading has another default
    written = (column >= shared[:, None]) & (column < lengths[:, None])
    # Tokens are counted as they are written. One that is not stands where the last before it in its column does.
    places = (written.flatten().cumsum(0) - 1).view_as(written).masked_fill_(~written, 0).cummax(dim=0).values
    laid = lay_blocks(places, shared, lengths)
    queries, keys, padding = (
        torch.cat([getattr(part, name) for part in laid]) for name in ("queries", "keys", "padding")
    )
    asking = (~padding).nonzero().squeeze(1)
    answers = torch.empty_like(asking)
    answers[queries[asking]] = asking
    row = Pack(
        input_ids=ids[written].unsqueeze(0),
        position_ids=column.expand_as(written)[written].unsqueeze(0),
        predictors=places[order.argsort(), :-1][answered[:, 1:]],
        blocks=tuple(part.block for part in laid),
        queries=queries,
        keys=keys,
        padding=padding,
        answers=answers,
        plain=len(laid) == 1 and len(queries) == len(asking),
    )
    return row.to(groups.input_ids.device)
