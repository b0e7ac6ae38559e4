"""Finding out how a model's output head makes logits, so that the loss can be fused with it."""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel

from lightning_gft.functional.linear_logprob import LinearHead

_PROBED_LOGIT = 100.0
"""Larger than any soft-cap in use."""


def find_linear_head(model: PreTrainedModel) -> LinearHead | None:
    """Return the model's head if it is linear and gives the model's own logits, else ``None``.

    What a head does beyond the projection is read from the configuration, under the names that transformers uses, and
    then *checked* on a few tokens: a model whose logits come about in a way not known here is never silently trained
    on others.

    Args:
        model: A causal language model, its weights on a real device.
    """
    if not isinstance(model.get_output_embeddings(), nn.Linear):
        return None
    config = model.config.get_text_config()
    head = LinearHead(
        softcap=getattr(config, "final_logit_softcapping", None),
        logit_scale=(getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0),
    )
    return head if _gives_own_logits(head, model) else None


@torch.no_grad()
def _gives_own_logits(head: LinearHead, model: PreTrainedModel) -> bool:
    training = model.training
    model.eval()
    projection = model.get_output_embeddings()
    probe = torch.arange(4, device=model.device).unsqueeze(0)
    hidden = model.base_model(input_ids=probe).last_hidden_state
    # A fresh model's logits are so small that no bound on them shows, so the projection is made to give large ones.
    amplification = _PROBED_LOGIT / projection(hidden).abs().max().clamp(min=1e-6)
    hook = projection.register_forward_hook(lambda _, __, projected: projected * amplification)
    try:
        difference = (head.logits(projection(hidden)) - (expected := model(input_ids=probe).logits)).abs().max()
    finally:
        hook.remove()
    model.train(training)
    # Half precision rounds to 2^-8.
    tolerance = 1e-4 if expected.dtype in (torch.float32, torch.float64) else 2e-2
    return bool(difference <= tolerance * expected.abs().max())
