"""Checking that a model and a tokenizer fit each other, and that prompts and responses fit the model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lightning_gft.checks import check_count
from lightning_gft.errors import GFTRuntimeError, GFTValueError
from lightning_gft.types import Response


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that the model embeds all tokens of the tokenizer.

    Raises:
        ValueError: If the tokenizer has more tokens than the model embeds.
    """
    embedded = model.config.get_text_config().vocab_size
    if len(tokenizer) > embedded:
        raise GFTValueError(
            f"the tokenizer: expected at most the {embedded} tokens that the model embeds, got {len(tokenizer)}; use "
            "the tokenizer that belongs to the model, or resize the model's embeddings and save it first"
        )


def tokenizer_identity(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a short text that identifies a tokenizer, as errors show it."""
    known = f"{sorted(tokenizer.get_vocab().items())} {tokenizer.chat_template}"
    digest = hashlib.sha256(known.encode()).hexdigest()[:8]
    return f"{type(tokenizer).__name__} of {len(tokenizer)} tokens ({digest})"


def check_draw(
    tokenizer: PreTrainedTokenizerBase,
    prompt_ids: Sequence[Sequence[int]],
    num_generations: int,
    max_new_tokens: int,
    seed: int,
) -> None:
    """Check the arguments of a draw.

    Raises:
        TypeError: If a number is not a whole number.
        ValueError: If a number is out of range, a prompt has no tokens, or prompt and response exceed the window.
    """
    check_count("num_generations", num_generations)
    check_count("seed", seed, least=0, most=2**64 - 1)
    check_prompts(prompt_ids)
    check_window(tokenizer, max(map(len, prompt_ids), default=0), max_new_tokens)


def check_prompts(prompt_ids: Sequence[Sequence[int]]) -> None:
    """Check that every prompt has a token to predict from.

    Raises:
        ValueError: If a prompt has no tokens.
    """
    empty = next((number for number, ids in enumerate(prompt_ids) if not len(ids)), None)
    if empty is not None:
        raise GFTValueError(
            f"`prompt_ids[{empty}]`: expected at least one token, got none; begin it with the tokenizer's "
            "beginning-of-sequence token, or leave the prompt out"
        )


def check_responses(responses: list[list[Response]], num_prompts: int, count: int) -> list[list[Response]]:
    """Return an engine's responses, after a check of their number and that none is empty.

    Raises:
        RuntimeError: If a prompt has another number of responses, or a response is empty.
    """
    counts = [sum(bool(response.token_ids) for response in own) for own in responses]
    if counts != [count] * num_prompts or any(len(own) != count for own in responses):
        raise GFTRuntimeError(
            f"`rollout`: expected {count} responses of at least one token to each of {num_prompts} prompts, got "
            f"{counts}; let the engine's generate return num_generations of them, and the greedy one if requested"
        )
    return responses


def check_window(
    tokenizer: PreTrainedTokenizerBase, prompt_length: int, max_new_tokens: int, setting: str = "max_new_tokens"
) -> None:
    """Check that the longest prompt and response fit into the model's window.

    Args:
        tokenizer: Tokenizer whose ``model_max_length`` is the model's window, in tokens.
        prompt_length: Tokens of the longest prompt.
        max_new_tokens: Tokens of the longest response.
        setting: Setting that has the length of the response.

    Raises:
        ValueError: If they do not fit.
    """
    window = tokenizer.model_max_length
    if prompt_length + max_new_tokens > window:
        raise GFTValueError(
            f"`{setting}`: expected a prompt and a response that fit into the model's window, got a prompt of "
            f"{prompt_length} tokens and max_new_tokens={max_new_tokens} for a window of {window} tokens "
            "(max_position_embeddings of its config.json); lower max_new_tokens, or set the datamodule's "
            "max_prompt_length to leave longer prompts out"
        )
