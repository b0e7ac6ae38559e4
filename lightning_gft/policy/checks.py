"""Refusing a model and a tokenizer that are not a policy, and responses that it has no room for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lightning_gft.checks import check_count
from lightning_gft.errors import GFTRuntimeError, GFTValueError
from lightning_gft.types import Response


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer that knows tokens that the model does not.

    Raises:
        ValueError: If there are any.
    """
    embedded = model.config.get_text_config().vocab_size
    if len(tokenizer) > embedded:
        raise GFTValueError(
            f"the tokenizer has {len(tokenizer)} tokens but the model embeds {embedded}; use the tokenizer that "
            "belongs to the model, or resize the model's embeddings and save it first"
        )


def tokenizer_identity(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return what tells a tokenizer from others, in words that an error can show."""
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
    """Refuse what nothing can be drawn for.

    Raises:
        TypeError: If a number is none.
        ValueError: If it is out of range, a prompt has no tokens, or a response may run out of the model's window.
    """
    check_count("num_generations", num_generations)
    check_count("seed", seed, least=0, most=2**64 - 1)
    check_prompts(prompt_ids)
    check_window(tokenizer, max(map(len, prompt_ids), default=0), max_new_tokens)


def check_prompts(prompt_ids: Sequence[Sequence[int]]) -> None:
    """Refuse prompts without tokens: a model predicts from at least one.

    Raises:
        ValueError: If there is one.
    """
    empty = next((number for number, ids in enumerate(prompt_ids) if not len(ids)), None)
    if empty is not None:
        raise GFTValueError(
            f"`prompt_ids[{empty}]`: expected at least one token, got none; begin it with the tokenizer's "
            "beginning-of-sequence token, or leave the prompt out"
        )


def check_responses(responses: list[list[Response]], num_prompts: int, count: int) -> list[list[Response]]:
    """Return what an engine has drawn, unless a prompt has another number of responses or one is empty.

    Raises:
        RuntimeError: If so.
    """
    counts = [sum(bool(response.token_ids) for response in own) for own in responses]
    if counts != [count] * num_prompts or any(len(own) != count for own in responses):
        raise GFTRuntimeError(
            f"`rollout`: expected {count} responses of at least one token to each of {num_prompts} prompts, got "
            f"{counts}; let the engine's generate return the greedy response, if asked for, and num_generations more"
        )
    return responses


def check_window(tokenizer: PreTrainedTokenizerBase, prompt_length: int, max_new_tokens: int) -> None:
    """Refuse responses that would run out of the positions that a model knows.

    Args:
        tokenizer: Its ``model_max_length`` is the model's window.
        prompt_length: Tokens of the longest prompt.

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
