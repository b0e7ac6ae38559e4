"""Rejecting a model that does not generate from left to right."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from lightning_gft.errors import GFTValueError
from lightning_gft.lm.capabilities import Capability, capability, tolerance


@capability
@torch.no_grad()
def check_causal(model: PreTrainedModel) -> Capability[bool]:
    """Raise ``ValueError`` if a token depends on later ones, as in encoders, which transformers loads too."""
    if getattr(model, "is_loaded_in_8bit", False):
        return Capability(True)  # 8-bit products share outlier columns, so that tokens affect each other slightly
    probe = torch.arange(4, device=model.device).unsqueeze(0)
    logits, changed = (model(input_ids=ids).logits[:, :-1] for ids in (probe, probe.clamp(max=2)))
    if (logits - changed).abs().max() > tolerance(logits.dtype, half=2e-2) * logits.abs().max():
        raise GFTValueError(
            f"{type(model).__name__}: expected a causal model, got one whose prediction for a token depends on later "
            "tokens; use a model that generates from left to right"
        )
    return Capability(True)
