"""Attention among the sequences of a pack, through the attention function that the model uses anyway."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding
from transformers import PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lightning_gft.packing.row import Pack

PACKED = {"sdpa": "packed_sdpa", "eager": "packed_eager"}
"""Names in transformers' registry of attention functions, by those of the functions that they take each block to."""

_Attention = Callable[..., tuple[Tensor, Tensor | None]]


def use_packed_attention(model: PreTrainedModel) -> bool:
    """Make a model understand ``packing=...`` among the arguments of its forward; without it nothing changes.

    Args:
        model: A causal language model.

    Returns:
        Whether its attention function is one that packs can be taken to.
    """
    name = PACKED.get(underlying_attention(model))
    if name is not None:
        model.set_attn_implementation(name)
    return name is not None and model.config._attn_implementation == name


def leave_packed_attention(model: PreTrainedModel) -> None:
    """Undo :func:`use_packed_attention`.

    Args:
        model: The model.
    """
    model.set_attn_implementation(underlying_attention(model))


def underlying_attention(model: PreTrainedModel) -> str:
    """Return the name of the attention function that a model uses without packs.

    Args:
        model: A causal language model.
    """
    name = model.config._attn_implementation or ""
    return {packed: own for own, packed in PACKED.items()}.get(name, name)


def _sdpa(module: torch.nn.Module) -> _Attention:
    return ALL_ATTENTION_FUNCTIONS["sdpa"]  # type: ignore[no-any-return]


def _eager(module: torch.nn.Module) -> _Attention:
    # Each architecture has its own, beside its layers, which knows its soft-caps, sinks and scales.
    return sys.modules[type(module).__module__].eager_attention_forward  # type: ignore[no-any-return]


def _register(own: str, function_of: Callable[[torch.nn.Module], _Attention]) -> None:
    def packed(
        module: torch.nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        packing: Pack | None = None,
        sliding_window: int | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        function = function_of(module)
        if packing is None:
            return function(module, query, key, value, attention_mask, sliding_window=sliding_window, **kwargs)
        return attend_in_blocks(function, module, query, key, value, packing, sliding_window, **kwargs), None

    ALL_ATTENTION_FUNCTIONS.register(PACKED[own], packed)
    ALL_MASK_ATTENTION_FUNCTIONS.register(PACKED[own], ALL_MASK_ATTENTION_FUNCTIONS[own])


def attend_in_blocks(
    function: _Attention,
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    packing: Pack,
    window: int | None,
    **kwargs: Any,
) -> Tensor:
    """Return what every token of a pack gets from its own sequence.

    Args:
        function: Attention as transformers calls it.
        module: The layer that asks.
        query: ``[1, heads, S, D]``.
        key: ``[1, key_value_heads, S, D]``.
        value: ``[1, key_value_heads, S, D]``.
        packing: Who sees whom.
        window: Most positions back, its own included; ``None`` for no limit.
        kwargs: Passed on.

    Returns:
        ``[1, S, heads, D]``.
    """
    rows = [_rows(tensor) for tensor in (query, key, value)]
    asked = _Spread.apply(rows[0], packing)  # type: ignore[no-untyped-call]
    answers, start = [], 0
    for number, block in enumerate(packing.blocks):
        stop = start + block.queries.numel()
        seen = rows[1:] if packing.plain else [embedding(block.keys.flatten(), seen) for seen in rows[1:]]
        answer, _ = function(
            module,
            _heads(asked[start:stop], block.queries, query),
            _heads(seen[0], block.keys, key),
            _heads(seen[1], block.keys, value),
            packing.mask(number, window, query.dtype, causal_is_implied=function is ALL_ATTENTION_FUNCTIONS["sdpa"]),
            sliding_window=window,
            **kwargs,
        )
        answers.append(answer.flatten(0, 1).flatten(1))
        start = stop
    collected = _Collect.apply(torch.cat(answers), packing)  # type: ignore[no-untyped-call]
    return collected.view(1, len(packing), query.shape[1], -1)  # type: ignore[no-any-return]


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
        return rows.view_as(rows) if packing.plain else rows.index_select(0, packing.queries)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        packing = ctx.packing
        return gradient if packing.plain else gradient.index_select(0, packing.answers), None


class _Collect(torch.autograd.Function):
    """Queries back to tokens."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, packing: Pack) -> Tensor:
        ctx.packing = packing
        return rows.view_as(rows) if packing.plain else rows.index_select(0, packing.answers)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        packing = ctx.packing
        if packing.plain:
            return gradient, None
        spread = gradient.index_select(0, packing.queries)
        return spread.masked_fill_(packing.padding.unsqueeze(1), 0), None


_register("sdpa", _sdpa)
_register("eager", _eager)
