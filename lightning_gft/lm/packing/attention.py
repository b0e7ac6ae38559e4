"""Attention among the sequences of a pack, through the attention function that the model uses anyway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from lightning_gft.lm.attention import AttentionFunction
from lightning_gft.lm.packing.block import Block
from lightning_gft.lm.packing.row import Pack


@dataclass(frozen=True)
class PackedAttention:
    """Attends among the sequences of a pack, each within itself.

    Args:
        packing: Who sees whom.
    """

    packing: Pack

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
        """Return ``[1, S, heads, D]``, see :class:`lightning_gft.lm.attention.Attending`.

        Args:
            function: Attention as transformers calls it.
            module: The layer that asks.
            query: ``[1, heads, S, D]``.
            key: ``[1, key heads, S, D]``.
            value: ``[1, key heads, S, D]``.
            sliding_window: Most positions back, its own included; ``None`` for no limit.
            kwargs: Passed on.
        """
        packing = self.packing
        causal_by_itself = function is sdpa_attention_forward
        queries, *seen = (_rows(tensor) for tensor in (query, key, value))
        if not packing.plain:
            queries = _Spread.apply(queries, packing)  # type: ignore[no-untyped-call]
            seen = [embedding(packing.keys, rows) for rows in seen]
        asked = queries.split([block.num_queries for block in packing.blocks])
        keys, values = (rows.split([block.num_keys for block in packing.blocks]) for rows in seen)
        answers = []
        for number, block in enumerate(packing.blocks):
            answer, _ = function(
                module,
                _heads(asked[number], block, query),
                _heads(keys[number], block, key),
                _heads(values[number], block, value),
                packing.mask(number, sliding_window, query.dtype, causal_by_itself),
                sliding_window=sliding_window,
                **kwargs,
            )
            answers.append(answer.flatten(0, 1).flatten(1))
        collected = torch.cat(answers)
        if not packing.plain:
            collected = _Collect.apply(collected, packing)  # type: ignore[no-untyped-call]
        return collected.view(1, len(packing), query.shape[1], -1)


def _rows(tensor: Tensor) -> Tensor:
    """``[1, heads, S, D]`` to ``[S, heads * D]``."""
    return tensor.squeeze(0).transpose(0, 1).flatten(1)


def _heads(rows: Tensor, block: Block, like: Tensor) -> Tensor:
    """``[n * L, heads * D]`` to ``[n, heads, L, D]``."""
    return rows.view(len(block.positions), -1, like.shape[1], like.shape[3]).transpose(1, 2)


class _Spread(torch.autograd.Function):
    """Tokens to queries. Every token asks once, so the way back is a selection too, where autograd's would add up."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, packing: Pack) -> Tensor:
        ctx.packing = packing
        return rows.index_select(0, packing.queries)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.index_select(0, ctx.packing.answers), None


class _Collect(torch.autograd.Function):
    """Queries back to tokens."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, packing: Pack) -> Tensor:
        ctx.packing = packing
        return rows.index_select(0, packing.answers)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        spread = gradient.index_select(0, ctx.packing.queries)
        return spread.masked_fill_(ctx.packing.padding.unsqueeze(1), 0), None
