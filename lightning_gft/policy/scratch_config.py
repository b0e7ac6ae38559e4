"""The configuration of a small model, with clear errors for fields that a user sets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedTokenizerBase

from lightning_gft.checks import did_you_mean
from lightning_gft.errors import GFTValueError
from lightning_gft.policy.files import summarise

_SMALL = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
_AT_LEAST_ONE = {*_SMALL, "num_key_value_heads", "head_dim", "vocab_size"} - {"tie_word_embeddings"}


def small_config(model_type: str, given: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> PreTrainedConfig:
    """Return the configuration of a small model that can be built and run.

    Raises:
        ValueError: If there is no such architecture or field, or no model can be built with a value.

    Example:
        >>> from lightning_gft.policy.tokenizer import alphabet_tokenizer
        >>> small_config("qwen2", {"hidden_act": "gelo"}, alphabet_tokenizer("abc"))
        Traceback (most recent call last):
        lightning_gft.errors.GFTValueError: `config.hidden_act`: expected what a model of Qwen2Config can be ...
    """
    try:
        default = AutoConfig.for_model(model_type)
    except ValueError as error:
        raise GFTValueError(
            f"`model_type`: expected the name of an architecture of transformers, such as qwen2, got {model_type!r}"
        ) from error
    _check_names(given, default)
    # A field may have two names, GPT-2's `n_embd` and `hidden_size`: the one given must replace the other.
    written = {default.attribute_map.get(name, name): name for name in given}
    fields = {field: given[name] for field, name in written.items()}
    for field, value in fields.items():
        _check_value(written[field], field, value, default)
    if given.get("vocab_size", len(tokenizer)) < len(tokenizer):
        raise GFTValueError(
            f"`config.vocab_size`: expected at least the {len(tokenizer)} tokens of the alphabet, got "
            f"{given['vocab_size']}; leave it out"
        )

    def make(chosen: Mapping[str, Any]) -> PreTrainedConfig:
        return AutoConfig.for_model(model_type, **{**_small_fields(chosen, default, tokenizer), **chosen})

    if fields:
        _check_models(make, fields, written, default)
    config = make(fields)
    _check_heads(config, given)
    return config


def _check_names(given: Mapping[str, Any], default: PreTrainedConfig) -> None:
    # Names that begin with an underscore are internal to transformers.
    known = {name for name in {*default.to_dict(), *default.attribute_map} if not str(name).startswith("_")}
    for name in given:
        if name not in known:
            raise GFTValueError(
                f"`config.{name}`: expected a field of {type(default).__name__}, which has no such"
                f"{did_you_mean(str(name), known)}"
            )


def _check_value(name: str, field: str, value: object, default: PreTrainedConfig) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise GFTValueError(f"`config.{name}`: expected a finite number, got {value}")
    least = int(field in {default.attribute_map.get(common, common) for common in _AT_LEAST_ONE})
    counts = isinstance(getattr(default, name, None), int) or least == 1
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if counts and is_whole and not name.endswith("_token_id") and value < least:  # type: ignore[operator]
        raise GFTValueError(f"`config.{name}`: expected at least {least}, got {value}")


def _check_heads(config: PreTrainedConfig, given: Mapping[str, Any]) -> None:
    width, heads = (getattr(config, name, None) for name in ("hidden_size", "num_attention_heads"))
    if "head_dim" not in given and isinstance(width, int) and isinstance(heads, int) and width % heads:
        raise GFTValueError(
            f"`config.num_attention_heads`: expected a divisor of hidden_size={width}, got {heads}; change either, or "
            "give head_dim"
        )


def _check_models(
    make: Callable[[Mapping[str, Any]], PreTrainedConfig],
    fields: Mapping[str, Any],
    written: Mapping[str, str],
    default: PreTrainedConfig,
) -> None:
    """Check that a model can be built and run, and name the field without which one could be."""

    def fault(chosen: Mapping[str, Any], run: bool = True) -> Exception | None:
        try:
            _build(make(chosen), run)
        except Exception as error:  # noqa: BLE001 (any error leads to naming the field at fault)
            return error
        return None

    error, run = fault(fields), True
    if error is not None and fault({}) is not None:  # an architecture that only runs with real weights
        error, run = fault(fields, run=False), False
    if error is None:
        return
    others = {name: {other: fields[other] for other in fields if other != name} for name in fields}
    shown = [name for name in fields if fault(others[name], run) is None][:1] or [*fields]
    text = summarise(error)
    reason = text if " " in text else f"{type(error).__name__}: {text}"  # a KeyError's text is only the key
    raise GFTValueError(
        f"{', '.join(f'`config.{written[name]}`' for name in shown)}: expected what a model of "
        f"{type(default).__name__} can be built and run with, got "
        f"{', '.join(repr(fields[name]) for name in shown)} ({reason})"
    ) from error


def _small_fields(
    given: Mapping[str, Any], default: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase
) -> dict[str, Any]:
    heads = {"num_key_value_heads": given.get("num_attention_heads", _SMALL["num_attention_heads"])}
    small = {name: value for name, value in {**_SMALL, **heads}.items() if hasattr(default, name)}
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "eos", "bos")}
    filled = {"vocab_size": len(tokenizer), **small, **ids}
    return {default.attribute_map.get(name, name): value for name, value in filled.items()}


def _build(config: PreTrainedConfig, run: bool) -> None:
    """Build a model without memory for its weights and, if asked to, run it on two tokens in training mode."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        if run:
            model.train()(input_ids=torch.zeros(1, 2, dtype=torch.long))
