"""What a run was made of, in words, for its checkpoints and for the card of what is exported from them."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from torch import nn

from lightning_gft.checkpoint.code import code_digest
from lightning_gft.parts import Part

_PLAIN = (bool, int, float, str)
_SHOWN = (*_PLAIN, nn.Module, Part)  # a module, such as a rectifier, shows itself
_DIGITS = 12


def describe(part: object) -> str:
    """Return a part of a run with what it was made with, as far as it is plain.

    Args:
        part: Anything that keeps its arguments under their names.

    Example:
        >>> from lightning_gft import NumericReward
        >>> describe(NumericReward(marker="####"))
        "NumericReward(marker='####', tolerance=1e-06, weight=1.0)"
    """
    if is_dataclass(part):
        return repr(part)
    shown = [f"{name}={_shown(value)}" for name, value in _arguments(part).items() if isinstance(value, _SHOWN)]
    shown += map(repr, _own_settings(part).values())
    return f"{type(part).__name__}({', '.join(shown)})"


def identify(part: object) -> str:
    """Return :func:`describe`, and a digest of what it leaves out: settings that are not plain or not shown, own code.

    Args:
        part: See :func:`describe`.

    Example:
        >>> from lightning_gft import HTTPReward
        >>> one, other = (HTTPReward("http://localhost:9000/score", columns=[name]) for name in ("level", "topic"))
        >>> describe(one) == describe(other), identify(one) == identify(other)
        (True, False)
    """
    hidden = _hidden(part)
    if not hidden:
        return describe(part)
    return f"{describe(part)}, other settings {hashlib.sha256(repr(hidden).encode()).hexdigest()[:_DIGITS]}"


def describe_scoring(sampler: Any, of_part: Callable[[object], str] = describe) -> dict[str, str]:
    """Return in words what responses are worth.

    Args:
        sampler: A ``GroupSampler``.
        of_part: Returns the words for a part.
    """
    return {
        **{f"reward `{name}`": of_part(reward) for name, reward in sampler.rewards.items()},
        "total": of_part(sampler.total),
        "advantage": of_part(sampler.advantage),
    }


def describe_sampler(sampler: Any, of_part: Callable[[object], str] = describe) -> dict[str, str]:
    """Return in words what builds groups.

    Args:
        sampler: A ``GroupSampler``.
        of_part: Returns the words for a part.
    """
    sources = {f"source `{name}`": source for name, source in sampler.sources.items()}
    return {
        **{name: f"{of_part(source)}, {source.num_responses} a prompt" for name, source in sources.items()},
        **describe_scoring(sampler, of_part),
    }


def describe_parts(policy: object, sampler: Any, loss: Any, updates_per_batch: int, data: object) -> dict[str, str]:
    """Return in words what a run is made of, by names that a card shows.

    Args:
        policy: Its loader.
        sampler: A ``GroupSampler``.
        loss: A ``GroupLoss``.
        updates_per_batch: Optimizer steps on each batch of groups.
        data: Its datamodule, if there is one.
    """
    return {
        "policy": describe(policy),
        **describe_sampler(sampler),
        "loss": describe(loss),
        "updates per batch": str(updates_per_batch),
        **({} if data is None else {"data": describe(data)}),
    }


def stage_row(name: str) -> str:
    """Return the name under which a card shows a stage that is over."""
    return f"stage `{name}`"


def without_stages(parts: Mapping[str, str]) -> dict[str, str]:
    """Return what a run is made of now, without what it was made of in earlier stages.

    Example:
        >>> without_stages({"loss": "GFTLoss()", stage_row("sft"): "loss: SFTLoss()"})
        {'loss': 'GFTLoss()'}
    """
    return {name: words for name, words in parts.items() if not name.startswith("stage")}


def _arguments(part: object) -> dict[str, Any]:
    names = inspect.signature(type(part).__init__).parameters
    return {name: getattr(part, name) for name in names if hasattr(part, name)}


def _own_settings(part: object) -> dict[str, Any]:
    """Return settings of this package; a model's configuration is one of transformers, which changes when it saves."""
    return {name: value for name, value in vars(part).items() if _is_settings(value)}


def _is_settings(value: object) -> bool:
    return is_dataclass(value) and type(value).__module__.startswith("lightning_gft.")


def _hidden(part: Any) -> dict[str, Any]:
    """Return by name what :func:`describe` leaves out of a part, and of the parts and settings within it."""
    if is_dataclass(part):
        hidden = {
            field.name: _plain(getattr(part, field.name)) for field in fields(part) if field.init and not field.repr
        }
    else:
        arguments, settings = _arguments(part), _own_settings(part)
        within = {name: value for name, value in arguments.items() if isinstance(value, Part)} | settings
        others = {name: value for name, value in arguments.items() if not isinstance(value, _SHOWN)}
        hidden = {name: _plain(value) for name, value in others.items() if name not in settings}
        hidden |= {name: _hidden(value) for name, value in within.items()}
        functions = [value for value in vars(part).values() if callable(value) and not isinstance(value, Part)]
        hidden["code"] = sorted(filter(None, map(code_digest, [type(part), *functions])))  # the user's alone
    return {name: value for name, value in sorted(hidden.items()) if value not in (None, {}, [])}


def _plain(value: Any) -> Any:
    """Return a value so that it reads the same in every process: what is not plain by its class and own code."""
    if value is None or isinstance(value, _PLAIN):
        return value
    if isinstance(value, Mapping):
        return {repr(key): _plain(value[key]) for key in sorted(value, key=repr)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(repr(_plain(item)) for item in value)
    named = value if hasattr(value, "__qualname__") else type(value)  # a function has a name of its own
    return f"{named.__module__}.{named.__qualname__}, {code_digest(value)}"


def _shown(value: object) -> str:
    """Return a value as Python writes it, a part in words; of a path the last part, as the rest means nothing."""
    if isinstance(value, Part):  # a loss within a loss, a source within a source
        return describe(value)
    is_path = isinstance(value, str) and "/" in value and Path(value).exists()
    return repr(Path(str(value)).name if is_path else value)
