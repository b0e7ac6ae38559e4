"""Attention among the sequences of a pack, through the attention function that the model uses anyway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from lightning_gft.attention import AttentionFunction
from lightning_gft.packing.row import Pack


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
        """Return ``[1, S, heads, D]``, see :class:`lightning_gft.attention.Attending`.

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
        rows = [_rows(tensor) for tensor in (query, key, value)]
        asked = rows[0] if packing.plain else _Spread.apply(rows[0], packing)  # type: ignore[no-untyped-call]
        answers, start = [], 0
        for number, block in enumerate(packing.blocks):
            stop = start + block.queries.numel()
            seen = rows[1:] if packing.plain else [embedding(block.keys.flatten(), seen) for seen in rows[1:]]
            answer, _ = function(
                module,
                _heads(asked[start:stop], block.queries, query),
                _heads(seen[0], block.keys, key),
                _heads(seen[1], block.keys, value),
                packing.mask(number, sliding_window, query.dtype, causal_by_itself),
                sliding_window=sliding_window,
                **kwargs,
            )
            answers.append(answer.flatten(0, 1).flatten(1))
            start = stop
        collected = torch.cat(answers)
        if not packing.plain:
            collected = _Collect.apply(collected, packing)  # type: ignore[no-untyped-call]
        return collected.view(1, len(packing), query.shape[1], -1)


def _rows(tensor: Tensor) -> Tensor:
    """``[1, heads, S, D]`` to ``[S, heads * D]``."""
    return tensor.squeeze(0).transpose(0, 1).flatten(1)


def _heads(rows: Tensor, places: Tensor, like: Tensor) -> Tensor:
    """``[n * L, heads * D]`` to ``[n, heads, L, D]``."""
    return rows.view(*places.shape, like.shape[1], like.shape[3]).transpose(1, 2)


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
