"""Attention within the sequences of a pack, computed by the model's usual attention function."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from lightning_gft.lm.attention import AttentionFunction
from lightning_gft.lm.packing.block import Block, choose_blocks


class PackedAttention:
    """Attention over a pack of ``S`` slots, within each of its sequences.

    Args:
        blocks: Blocks that attention is computed in. Every slot is a query in exactly one of them.
        queries: ``[Q]``, slots of the queries, one block after the other, on the CPU.
        keys: ``[K]``, slots of the keys, likewise.
        padding: ``[Q]``, true where a query is padding of its block, on the CPU.
        device: Device that the model runs on.
    """

    def __init__(
        self, blocks: list[Block], queries: Tensor, keys: Tensor, padding: Tensor, device: torch.device
    ) -> None:
        real = (~padding).nonzero().squeeze(1)
        outputs = torch.empty_like(real)
        outputs[queries[real]] = real
        self.blocks = blocks
        self.queries, self.keys, self.padding = queries.to(device), keys.to(device), padding.to(device)
        self.outputs = outputs.to(device)
        """``[S]``, the position in ``[Q]`` at which each slot is a query."""
        # A pack of whole sequences of one length is its own only block, so no rows have to be moved.
        self.plain = len(blocks) == 1 and len(queries) == len(real)
        self._masks: dict[tuple[int, int | None, torch.dtype], Tensor] = {}

    def mask(self, number: int, window: int | None, dtype: torch.dtype, causal_is_implied: bool) -> Tensor | None:
        """Return the ``[n, 1, R, L]`` added to a block's attention scores: 0, or minus infinity at masked keys.

        It is ``None`` for a block whose mask an attention function implies (``causal_is_implied``), which is faster.
        """
        block = self.blocks[number]
        limit = None if window is None or window >= block.width else window
        if causal_is_implied and block.causal and limit is None:
            return None
        key = number, limit, dtype
        if key not in self._masks:  # all layers share it
            hidden = ~block.visible(limit, self.queries.device)
            self._masks[key] = torch.zeros_like(hidden, dtype=dtype).masked_fill_(hidden, -torch.inf)
        return self._masks[key]

    def attend(
        self,
        function: AttentionFunction,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        sliding_window: int | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Return ``[1, S, heads, D]``; see :class:`lightning_gft.lm.attention.Attending`."""
        causal_by_itself = function is sdpa_attention_forward
        queries, *gathered = (_rows(tensor) for tensor in (query, key, value))
        if not self.plain:
            queries = _Spread.apply(queries, self)  # type: ignore[no-untyped-call]
            gathered = [embedding(self.keys, rows) for rows in gathered]
        by_block = queries.split([block.num_queries for block in self.blocks])
        keys, values = (rows.split([block.num_keys for block in self.blocks]) for rows in gathered)
        attended = []
        for number, block in enumerate(self.blocks):
            output, _ = function(
                module,
                _heads(by_block[number], block, query),
                _heads(keys[number], block, key),
                _heads(values[number], block, value),
                self.mask(number, sliding_window, query.dtype, causal_by_itself),
                sliding_window=sliding_window,
                **kwargs,
            )
            attended.append(output.flatten(0, 1).flatten(1))
        collected = torch.cat(attended)
        if not self.plain:
            collected = _Collect.apply(collected, self)  # type: ignore[no-untyped-call]
        return collected.view(1, query.shape[2], query.shape[1], -1)


def lay_out(slots: Tensor, shared: Tensor, lengths: Tensor, device: torch.device) -> PackedAttention:
    """Return attention within sequences whose tokens are at ``slots`` ``[N, T]`` of a pack.

    See :func:`choose_blocks` for the other arguments.
    """
    blocks, queries, keys, padding = [], [], [], []
    for block, rows in choose_blocks(shared, lengths):
        last = lengths[rows, None] - 1
        blocks.append(block)
        queries.append(slots[rows].gather(1, block.positions).flatten())
        keys.append(slots[rows].gather(1, torch.arange(block.width, device="cpu").minimum(last)).flatten())
        padding.append((block.positions.diff(dim=1, prepend=block.positions[:, :1] - 1) == 0).flatten())
    return PackedAttention(blocks, torch.cat(queries), torch.cat(keys), torch.cat(padding), device)


def _rows(tensor: Tensor) -> Tensor:
    """``[1, heads, S, D]`` to ``[S, heads * D]``."""
    return tensor.squeeze(0).transpose(0, 1).flatten(1)


def _heads(rows: Tensor, block: Block, like: Tensor) -> Tensor:
    """``[n * L, heads * D]`` to ``[n, heads, L, D]``."""
    return rows.view(len(block.positions), -1, like.shape[1], like.shape[3]).transpose(1, 2)


class _Spread(torch.autograd.Function):
    """Slots to queries. Every slot is one query, so backward selects rows too, where autograd's would add them up."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, attention: PackedAttention) -> Tensor:
        ctx.attention = attention
        return rows.index_select(0, attention.queries)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.index_select(0, ctx.attention.outputs), None


class _Collect(torch.autograd.Function):
    """Queries back to slots."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, attention: PackedAttention) -> Tensor:
        ctx.attention = attention
        return rows.index_select(0, attention.outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        spread = gradient.index_select(0, ctx.attention.queries)
        return spread.masked_fill_(ctx.attention.padding.unsqueeze(1), 0), None
