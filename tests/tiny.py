"""Tiny policies and batches that every part of the tests may use."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lightning_gft import Policy, PromptBatch, Response, ScratchPolicy

ALPHABET = "0123456789+-=abcdefghijklmnop#"

_LOADERS: dict[str, ScratchPolicy] = {}
_POLICIES: dict[str, tuple[Policy, Tensor]] = {}
"""Made once for each setting: building and probing a model costs 20 times as much as copying it."""


def tiny_loader(model_type: str = "qwen2", **config: Any) -> ScratchPolicy:
    """Return a policy of two layers, whose logits are spread out from the start, as a copy for the caller alone."""
    key = repr((model_type, sorted(config.items())))
    if key not in _LOADERS:
        _LOADERS[key] = _make_loader(model_type, config)
    return copy.deepcopy(_LOADERS[key])


def _make_loader(model_type: str, config: Mapping[str, Any]) -> ScratchPolicy:
    tiny = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.3}
    if model_type == "gpt2":
        tiny |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    elif model_type == "gpt_neox":
        tiny |= {"intermediate_size": 48}
    else:
        tiny |= {"intermediate_size": 48, "num_key_value_heads": 2}
    return ScratchPolicy(ALPHABET, model_type, {**tiny, **config})


def tiny_policy(model_type: str = "qwen2", keep_reference: bool = False, seed: int = 0, **config: Any) -> Policy:
    """Return the policy of a tiny loader, and leave the random state as loading it does.

    What loading reports is reported once for each setting; a test of that loads by itself.
    """
    key = repr((model_type, keep_reference, seed, sorted(config.items()), torch.get_default_dtype()))
    if key not in _POLICIES:
        torch.manual_seed(seed)
        _POLICIES[key] = tiny_loader(model_type, **config).load(keep_reference), torch.get_rng_state()
    policy, random_state = _POLICIES[key]
    torch.set_rng_state(random_state)
    return copy.deepcopy(policy)


def prompt_batch(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    references: Sequence[Any] | None = None,
    demonstrations: Mapping[str, Sequence[Sequence[str]]] | None = None,
    dataset: str = "",
) -> PromptBatch:
    """Return prompts as a datamodule hands them out, from texts."""

    def response(text: str) -> Response:
        return Response([*tokenizer.encode(text), tokenizer.eos_token_id])

    return PromptBatch(
        prompt_ids=[tokenizer.encode(prompt) for prompt in prompts],
        prompts=list(prompts),
        references=list(references or [None] * len(prompts)),
        demonstrations={
            role: [[response(text) for text in texts] for texts in of_role]
            for role, of_role in (demonstrations or {}).items()
        },
        dataset=dataset,
    )
