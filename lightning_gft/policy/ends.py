"""The tokens that end a response: in training, in sampling, and in exported models."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_warn
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from lightning_gft.chat import ChatTemplate, OutOfTimeError, RenderError, find_turn_end, ids_of
from lightning_gft.lm.decoding.stopping import EndTokens
from lightning_gft.policy.files import summarise


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> EndTokens:
    """Return the tokens that end a response: end of sequence, end of a chat turn, and those of the generation config.

    Raises:
        ValueError: If rendering the chat template takes too long.
    """
    eos = {int(tokenizer.eos_token_id), *_configured(model), *closing_tokens(tokenizer)[-1:]}
    return EndTokens(tuple(sorted(eos)), tokenizer.pad_token_id)


def closing_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens that close a whole response: those that end a chat turn, or the end of sequence.

    Args:
        tokenizer: Tokenizer, whose chat template defines how a turn ends.

    Raises:
        ValueError: If rendering the chat template takes too long.
    """
    return ids_of(tokenizer, _turn_end(tokenizer)) or [int(tokenizer.eos_token_id)]


def without_ends(token_ids: Sequence[int], end: EndTokens) -> list[int]:
    """Return the tokens of a response without those that end it and the padding after them."""
    ends = {*end.eos_token_ids, end.pad_token_id}
    length = max((number for number, token in enumerate(token_ids, start=1) if token not in ends), default=0)
    return list(token_ids[:length])


@contextmanager
def name_ends(model: PreTrainedModel, end: EndTokens) -> Iterator[None]:
    """Put every token that ends a response into a model's configurations within this context, for saving it."""
    configs = [config for config in (model.config, model.config.get_text_config()) if hasattr(config, "eos_token_id")]
    before, ends = model.generation_config, [config.eos_token_id for config in configs]
    model.generation_config = _naming(model, end)
    for config in configs:  # most models have one; in multimodal models, the text model's is within the other
        config.eos_token_id = model.generation_config.eos_token_id
    try:
        yield
    finally:
        model.generation_config = before
        for config, own in zip(configs, ends, strict=True):
            config.eos_token_id = own


def save_ends(model: PreTrainedModel, end: EndTokens, path: str | Path) -> None:
    """Write a generation config that lists every token that ends a response, beside an adapter."""
    _naming(model, end).save_pretrained(path)


def _turn_end(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    if tokenizer.chat_template is None:
        return ()
    try:
        return find_turn_end(ChatTemplate(tokenizer)).tokens
    except RenderError as error:
        if isinstance(error.__cause__, OutOfTimeError):
            raise
        return ()  # the datamodule warns of columns that the template does not accept


def _naming(model: PreTrainedModel, end: EndTokens) -> GenerationConfig:
    config = copy.deepcopy(model.generation_config) or GenerationConfig()
    ids = sorted({*end.eos_token_ids, *_configured(model)})
    config.eos_token_id = ids[0] if len(ids) == 1 else ids
    if _validation_error(config):  # often a temperature without do_sample, which many models are stored with
        config.do_sample = True
    if error := _validation_error(config):
        rank_zero_warn(f"the model's generation_config.json is not written, except for its token ids: {error}")
        tokens = {name: value for name, value in config.to_diff_dict().items() if name.endswith("_token_id")}
        config = GenerationConfig(**tokens)
    return config


def _validation_error(config: GenerationConfig) -> str:
    """Return why transformers would refuse to write a generation config; empty if it would not."""
    try:
        config.validate(strict=True)
    except ValueError as error:
        return summarise(error)
    return ""


def _configured(model: PreTrainedModel) -> set[int]:
    ids = model.generation_config.eos_token_id if model.generation_config else None
    return set(ids if isinstance(ids, list) else [] if ids is None else [ids])
