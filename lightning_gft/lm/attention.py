"""A hook into transformers' attention: an object passed to a model's forward as ``attending=...`` computes it."""

from __future__ import annotations

import sys
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lightning_gft.errors import GFTRuntimeError

_REDIRECTED_EAGER = "redirected_eager"
_TENSORS = {"s_aux", "position_ids", "cache_position"}
"""Tensors that layers pass to their attention function and that do not change which keys a query attends to."""


class RedirectionError(GFTRuntimeError):
    """A model's layers do not let their attention function decide which keys a query attends to."""


class AttentionFunction(Protocol):
    """Attention as transformers calls it."""

    def __call__(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Return ``[N, T, heads, D]`` and, where the function gives them, the attention weights."""


class Attending(Protocol):
    """An object that computes attention in place of a model's own function."""

    def attend(
        self, function: AttentionFunction, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, **kwargs: Any
    ) -> Tensor:
        """Return ``[N, T, heads, D]`` from a query ``[N, heads, T, D]``, keys and values ``[N, key heads, T, D]``.

        ``function`` is the model's own, and ``kwargs`` holds the layer's other arguments: scale, dropout, window.
        """


def attend_through(model: PreTrainedModel, attending: Attending, device: torch.device) -> dict[str, Any]:
    """Return the arguments that make one forward of a model attend through an object."""
    if not can_redirect_attention(model):
        raise RedirectionError(
            f"attn_implementation: expected 'sdpa' or 'eager', which can be redirected, got {attention_name(model)!r}; "
            "choose it before the policy is made"
        )
    redirect_attention(model)
    # Transformers passes a mask of four dimensions on, and would build one of its own from any other.
    return {"attention_mask": torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device), "attending": attending}


def can_redirect_attention(model: PreTrainedModel) -> bool:
    """Return whether :func:`redirect_attention` can redirect a model's attention function."""
    return attention_name(model) in ("sdpa", "eager")


def redirect_attention(model: PreTrainedModel) -> None:
    """Make a model's forward accept ``attending=...``, where its attention can be redirected.

    Call it before each such forward, since an attention function can be exchanged at any time.
    """
    name = model.config._attn_implementation
    if name == "sdpa":
        usual = ALL_ATTENTION_FUNCTIONS["sdpa"]
        if not isinstance(usual, _Redirected):
            ALL_ATTENTION_FUNCTIONS.register("sdpa", _Redirected(usual))
    elif name == "eager":
        # "eager" is not in the registry: each architecture has its own function, so a new name has to stand for it.
        ALL_ATTENTION_FUNCTIONS.register(_REDIRECTED_EAGER, _Redirected())
        ALL_MASK_ATTENTION_FUNCTIONS.register(_REDIRECTED_EAGER, ALL_MASK_ATTENTION_FUNCTIONS["eager"])
        model.set_attn_implementation(_REDIRECTED_EAGER)


def leave_attention(model: PreTrainedModel) -> None:
    """Undo :func:`redirect_attention`."""
    if model.config._attn_implementation == _REDIRECTED_EAGER:
        model.set_attn_implementation("eager")


def attention_name(model: PreTrainedModel) -> str:
    """Return the name of a model's own attention function."""
    name = model.config._attn_implementation or ""
    return "eager" if name == _REDIRECTED_EAGER else name


class _Redirected:
    """An attention function that delegates to an ``attending`` object if it is given one.

    ``usual`` is the function to call otherwise; ``None`` stands for that of each layer's own architecture, which knows
    its soft-caps and sinks.
    """

    def __init__(self, usual: AttentionFunction | None = None) -> None:
        self.usual = usual

    def __call__(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        attending: Attending | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        usual = self.usual or sys.modules[type(module).__module__].eager_attention_forward
        if attending is None:
            return usual(module, query, key, value, attention_mask, **kwargs)
        more = [name for name, given in kwargs.items() if isinstance(given, Tensor) and name not in _TENSORS]
        if more or attention_mask is None or attention_mask.shape != (1, 1, 1, 1):
            changed = ", ".join(more) or "attention_mask"
            raise RedirectionError(
                f"{type(module).__name__}: expected a layer without an attention mask of its own, got one in {changed}"
            )
        return attending.attend(usual, module, query, key, value, **kwargs), None
