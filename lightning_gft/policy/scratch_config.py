"""The configuration of a small model, read with clear errors for the fields that a user gave."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedTokenizerBase

from lightning_gft.checks import did_you_mean
from lightning_gft.errors import GFTValueError
from lightning_gft.policy.files import in_a_line

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

    Args:
        model_type: Architecture, by its name in transformers.
        given: Fields that shall differ from a 4-layer model of width 128.
        tokenizer: The model's.

    Raises:
        ValueError: If there is no such architecture or field, or no model comes of a value.

    Example:
        >>> from lightning_gft.policy.tokenizer import alphabet_tokenizer
        >>> small_config("qwen2", {"hidden_act": "gelo"}, alphabet_tokenizer("abc"))
        Traceback (most recent call last):
        lightning_gft.errors.GFTValueError: `config.hidden_act`: expected what a model of Qwen2Config can be built ...
    """
    try:
        default = AutoConfig.for_model(model_type)
    except ValueError as error:
        raise GFTValueError(f"model_type={model_type!r} is not an architecture of transformers") from error
    given = dict(given)
    _check_names(given, default)
    # A field may go by two names, GPT-2's `n_embd` and `hidden_size`: the one given must replace the other.
    names = {default.attribute_map.get(name, name): name for name in given}
    for name, value in given.items():
        _check_value(name, value, default)
    if given.get("vocab_size", len(tokenizer)) < len(tokenizer):
        raise GFTValueError(
            f"`config.vocab_size`: expected at least the {len(tokenizer)} tokens of the alphabet, got "
            f"{given['vocab_size']}; leave it out"
        )
    own = {name: given[as_given] for name, as_given in names.items()}
    config = _try(model_type, own, names, default, tokenizer)
    _check_heads(config, given)
    return config


def _check_names(given: Mapping[str, Any], default: PreTrainedConfig) -> None:
    # What begins with an underscore is transformers' own, and settles no field of an architecture.
    known = {name for name in {*default.to_dict(), *default.attribute_map} if not str(name).startswith("_")}
    for name in given:
        if name not in known:
            raise GFTValueError(
                f"`config.{name}`: expected a field of {type(default).__name__}, which has no such"
                f"{did_you_mean(str(name), known)}"
            )


def _check_value(name: str, value: object, default: PreTrainedConfig) -> None:
    least = 1 if name in _AT_LEAST_ONE or default.attribute_map.get(name) in _AT_LEAST_ONE else 0
    least = 1 if name in {default.attribute_map.get(common) for common in _AT_LEAST_ONE} else least
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if is_number and not (isinstance(value, Integral) or math.isfinite(value)):  # type: ignore[arg-type]
        raise GFTValueError(f"`config.{name}`: expected a finite number, got {value}")
    counts = isinstance(getattr(default, name, None), int) or least == 1
    if counts and isinstance(value, Integral) and not name.endswith("_token_id") and int(value) < least:
        raise GFTValueError(f"`config.{name}`: expected at least {least}, got {value}")


def _check_heads(config: PreTrainedConfig, given: Mapping[str, Any]) -> None:
    width, heads = (getattr(config, name, None) for name in ("hidden_size", "num_attention_heads"))
    if "head_dim" not in given and isinstance(width, int) and isinstance(heads, int) and width % heads:
        raise GFTValueError(
            f"`config.num_attention_heads`: expected a divisor of hidden_size={width}, got {heads}; change either, or "
            "give head_dim"
        )


def _try(
    model_type: str,
    given: Mapping[str, Any],
    names: Mapping[str, str],
    default: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
) -> PreTrainedConfig:
    """Return a configuration of which a model can be made; else name the fields without which one could be."""

    def attempt(fields: Mapping[str, Any], run: bool) -> Exception | None:
        try:
            _build(_complete(model_type, fields, default, tokenizer), run)
        except Exception as error:  # noqa: BLE001 (whatever it is, the field at fault is named)
            return error
        return None

    error, run = attempt(given, run=True) if given else None, True
    if error is not None and attempt({}, run=True) is not None:
        error, run = attempt(given, run=False), False  # an architecture that runs with real weights alone
    if error is None:
        return _complete(model_type, given, default, tokenizer)
    culprits = [name for name in given if attempt({k: v for k, v in given.items() if k != name}, run) is None]
    shown = [names[name] for name in culprits[:1] or given]
    values = ", ".join(repr(given[name]) for name in culprits[:1] or given)
    raise GFTValueError(
        f"{', '.join(f'`config.{name}`' for name in shown)}: expected what a model of {type(default).__name__} can be "
        f"built and run with, got {values} ({_reason(error)})"
    ) from error


def _reason(error: Exception) -> str:
    text = in_a_line(error)
    return text if " " in text else f"{type(error).__name__}: {text}"  # a missing key says no more than its name


def _complete(
    model_type: str, given: Mapping[str, Any], default: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase
) -> PreTrainedConfig:
    heads = {"num_key_value_heads": given.get("num_attention_heads", _SMALL["num_attention_heads"])}
    small = {name: value for name, value in {**_SMALL, **heads}.items() if hasattr(default, name)}
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "eos", "bos")}
    filled = {"vocab_size": len(tokenizer), **small, **ids}
    filled = {default.attribute_map.get(name, name): value for name, value in filled.items()}
    return AutoConfig.for_model(model_type, **{**filled, **given})


def _build(config: PreTrainedConfig, run: bool) -> None:
    """Make a model without memory for its weights, and maybe run it on two tokens, as in training."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        if run:
            model.train()(input_ids=torch.zeros(1, 2, dtype=torch.long))
