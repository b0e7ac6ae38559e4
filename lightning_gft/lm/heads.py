"""How a model's output head computes logits, so that the loss can be fused with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from typing_extensions import override

from lightning_gft.errors import GFTValueError
from lightning_gft.functional.head.linear_head import LinearHead
from lightning_gft.functional.precision import widen
from lightning_gft.lm.capabilities import Capability, capability, tolerance

_PROBED_LOGIT = 100.0
"""Larger than the soft-cap of any known model."""


class WideLinear(nn.Linear):
    """A projection computed in at least float32, whatever the precision of its weights and of autocast."""

    @override
    def forward(self, input: Tensor) -> Tensor:
        with head_operands(self, input) as operands:
            return nn.functional.linear(*operands)


def widen_head(model: PreTrainedModel) -> None:
    """Make a model compute its head's product in at least float32; the weights stay as they are, tied or not.

    Args:
        model: A causal language model, whose head becomes a :class:`WideLinear` in place.

    Raises:
        ValueError: If its head is not a linear layer.
    """
    head = model.get_output_embeddings()
    if type(head) is not nn.Linear:
        raise GFTValueError(
            f"fp32_head: expected false for {type(model).__name__}, whose head is not a plain linear layer but "
            f"{type(head).__name__}, got true; use torch_dtype: float32 instead"
        )
    head.__class__ = WideLinear


def output_projection(model: PreTrainedModel) -> nn.Module | None:
    """Return the layer that currently computes the logits.

    Adapters that train a copy of the head keep the original beside it, for when they are switched off.
    """
    head: Any = model.get_output_embeddings()
    copies = getattr(head, "modules_to_save", None)
    if copies is None:
        return head  # type: ignore[no-any-return] # a module or None
    chosen: nn.Module = head.original_module if head.disable_adapters else copies[head.active_adapters[0]]
    return chosen


@contextmanager
def head_operands(projection: nn.Linear, hidden: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Yield a head's operands in the precision of its product, with autocast set to keep that precision."""
    weight, bias = projection.weight, projection.bias
    if not isinstance(projection, WideLinear):
        yield hidden, weight, bias
        return
    with torch.autocast(hidden.device.type, enabled=False):
        yield widen(hidden), widen(weight), None if bias is None else widen(bias)


@capability
@torch.no_grad()
def linear_head(model: PreTrainedModel) -> Capability[LinearHead | None]:
    """Find out what a model's head does beyond a linear projection; ``None`` if it is not such a head.

    The answer is read from the configuration, under the names that transformers uses, and then *tried* on a few tokens:
    a model that computes its logits in an unknown way is never silently trained on different ones.
    """
    head = _configured_head(model)
    if head is not None and _gives_own_logits(head, model):
        return Capability(head)
    return Capability(
        None,
        f"{type(model).__name__} has a head that the fused loss does not support; its own logits are used instead, "
        "which takes more memory",
    )


def _configured_head(model: PreTrainedModel) -> LinearHead | None:
    # Subclasses are left out: those of quantised weights compute something else.
    if type(output_projection(model)) not in (nn.Linear, WideLinear):
        return None
    config = model.config.get_text_config()
    return LinearHead(
        softcap=getattr(config, "final_logit_softcapping", None),
        logit_scale=(getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0),
    )


def _gives_own_logits(head: LinearHead, model: PreTrainedModel) -> bool:
    projection = output_projection(model)
    assert projection is not None  # noqa: S101 (the caller checked)
    probe = torch.arange(4, device=model.device).unsqueeze(0)
    hidden = getattr(model.base_model(input_ids=probe), "last_hidden_state", None)
    if hidden is None:  # its body cannot run without its head
        return False
    # A fresh model's logits are too small to reveal a soft-cap, so the projection is scaled until they are large.
    amplification = _PROBED_LOGIT / projection(hidden).abs().max().clamp(min=1e-6)
    hook = projection.register_forward_hook(lambda _, __, projected: projected * amplification)
    try:
        difference = (head.logits(projection(hidden)) - (expected := model(input_ids=probe).logits)).abs().max()
    finally:
        hook.remove()
    return bool(difference <= tolerance(expected.dtype, half=2e-2) * expected.abs().max())
