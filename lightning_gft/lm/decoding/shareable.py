"""Whether responses can share their prompt's keys and values."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from lightning_gft.lm.attention import RedirectionError, attention_name
from lightning_gft.lm.capabilities import Capability, capability, tolerance
from lightning_gft.lm.decoding.repeated_prompt import RepeatedPrompts
from lightning_gft.lm.decoding.shared_prompt import SharedPrompts, attends_to_all

_PROMPTS = [[0, 1], [2, 3]]
_NEXT = [1, 2, 3, 0]
"""The next token of two responses per prompt."""


@capability
@torch.no_grad()
def shares_prompts(model: PreTrainedModel) -> Capability[bool]:
    """Find out whether a model's responses can share their prompt's keys and values.

    The attention that shares them replaces transformers' ``sdpa`` and supports neither soft-caps nor sinks. Whether
    a model's layers can use it is *tried*: one step on a few tokens must give the same logits as with copies.
    """
    # Autocast would round the compared logits, but weights of several data types may need it.
    needed = torch.is_autocast_enabled(model.device.type) and len(_dtypes(model)) > 1
    with nullcontext() if needed else torch.autocast(model.device.type, enabled=False):
        reason = _find_reason(model)
    return Capability(not reason, reason and f"rollouts keep a copy of the prompt for each response: {reason}")


def _find_reason(model: PreTrainedModel) -> str:
    name = attention_name(model)
    if name != "sdpa":
        return f"attn_implementation={name!r}"
    if not attends_to_all(_prefill(model), longest=0):
        return f"{type(model).__name__} keeps more than keys and values"
    try:
        shared = _step(SharedPrompts, model)
    except (RedirectionError, AttributeError, IndexError, KeyError, TypeError) as error:
        return f"{type(model).__name__}: {error}"
    repeated = _step(RepeatedPrompts, model)
    difference = (shared - repeated).float().norm(dim=1)
    close = difference <= tolerance(*_dtypes(model)) * repeated.float().norm(dim=1)
    return "" if close.all() else "its logits would differ"


def _dtypes(model: PreTrainedModel) -> set[torch.dtype]:
    return {weight.dtype for weight in model.parameters() if weight.is_floating_point()}


def _prefill(model: PreTrainedModel) -> DynamicCache:
    cache = DynamicCache(config=model.config)
    model(input_ids=torch.tensor(_PROMPTS, device=model.device), past_key_values=cache, use_cache=True)
    return cache


def _step(kind: type[SharedPrompts] | type[RepeatedPrompts], model: PreTrainedModel) -> Tensor:
    mask = torch.ones(2, 2, dtype=torch.long, device=model.device)
    states = kind(model, _prefill(model), mask, num_generations=2)
    return states.advance(torch.tensor(_NEXT, device=model.device))
