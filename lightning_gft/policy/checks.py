"""Refusing a model and a tokenizer that are not a policy, and responses that it has no room for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lightning_gft.errors import GFTValueError

_CHANGE = 1e-4
"""Of the largest logit. A causal model in single precision shows next to none."""


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer that knows tokens that the model does not.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer.

    Raises:
        ValueError: If there are any.
    """
    embedded = model.config.get_text_config().vocab_size
    if len(tokenizer) > embedded:
        raise GFTValueError(
            f"the tokenizer has {len(tokenizer)} tokens but the model embeds {embedded}; use the tokenizer that "
            "belongs to the model, or resize the model's embeddings and save it first"
        )


@torch.no_grad()
def check_causal(model: PreTrainedModel) -> None:
    """Refuse a model in which a token depends on later ones, as encoders' do that transformers loads all the same.

    Args:
        model: A language model, its weights on a real device.

    Raises:
        ValueError: If another last token changes what is predicted before it.
    """
    if getattr(model, "is_loaded_in_8bit", False):
        return  # its activations share outlier columns, so that tokens do touch each other, if only a little
    training = model.training
    model.eval()
    probe = torch.arange(4, device=model.device).unsqueeze(0)
    logits, changed = (model(input_ids=ids).logits[:, :-1] for ids in (probe, probe.clamp(max=2)))
    model.train(training)
    tolerance = _CHANGE if logits.dtype in (torch.float32, torch.float64) else 2e-2  # half precision rounds to 2^-8
    if (logits - changed).abs().max() > tolerance * logits.abs().max():
        raise GFTValueError(
            f"{type(model).__name__} is not causal: what it predicts for a token depends on later tokens. Give a model "
            "that generates from left to right"
        )


def check_prompts(prompt_ids: Sequence[Sequence[int]]) -> None:
    """Refuse prompts without tokens: a model predicts from at least one.

    Args:
        prompt_ids: ``P`` prompts as token ids.

    Raises:
        ValueError: If there is one.
    """
    empty = next((number for number, ids in enumerate(prompt_ids) if not len(ids)), None)
    if empty is not None:
        raise GFTValueError(
            f"`prompt_ids[{empty}]`: expected at least one token, got none; begin it with the tokenizer's "
            "beginning-of-sequence token, or leave the prompt out"
        )


def check_window(tokenizer: PreTrainedTokenizerBase, prompt_length: int, max_new_tokens: int) -> None:
    """Refuse responses that would run out of the positions that a model knows.

    Args:
        tokenizer: Its ``model_max_length`` is the model's window.
        prompt_length: Of the longest prompt, in tokens.
        max_new_tokens: Longest response.

    Raises:
        ValueError: If they would.
    """
    window = tokenizer.model_max_length
    if prompt_length + max_new_tokens > window:
        raise GFTValueError(
            f"a prompt of {prompt_length} tokens and max_new_tokens={max_new_tokens} are more than the "
            f"model's window of {window} tokens (max_position_embeddings of its config.json): lower max_new_tokens, or "
            "leave longer prompts out by the datamodule's max_prompt_length"
        )
