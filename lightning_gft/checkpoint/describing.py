"""Textual descriptions of a run's parts, for its checkpoints and for the model card of exports."""

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
_SHOWN = (*_PLAIN, nn.Module, Part)  # a module, such as a rectifier, has a representation of its own
_DIGITS = 12


def describe(part: object) -> str:
    """Return a part of a run with its constructor's arguments, as far as they are plain values, modules or parts.

    Args:
        part: Any object that stores its arguments under their names.

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
    """Return :func:`describe` with a digest of what it omits: complex and hidden settings, and the user's own code.

    Args:
        part: Any object that stores its arguments under their names.

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
    """Describe how responses are scored.

    Args:
        sampler: A ``GroupSampler``.
        of_part: Returns the description of a part.
    """
    return {
        **{f"reward `{name}`": of_part(reward) for name, reward in sampler.rewards.items()},
        "total": of_part(sampler.total),
        "advantage": of_part(sampler.advantage),
    }


def describe_sampler(sampler: Any, of_part: Callable[[object], str] = describe) -> dict[str, str]:
    """Describe how groups are built.

    Args:
        sampler: A ``GroupSampler``.
        of_part: Returns the description of a part.
    """
    sources = {f"source `{name}`": source for name, source in sampler.sources.items()}
    return {
        **{name: f"{of_part(source)}, {source.num_responses} a prompt" for name, source in sources.items()},
        **describe_scoring(sampler, of_part),
    }


def describe_parts(policy: object, sampler: Any, loss: Any, updates_per_batch: int, data: object) -> dict[str, str]:
    """Describe the parts of a run, by the names that a model card shows.

    Args:
        policy: The loader of the policy.
        sampler: A ``GroupSampler``.
        loss: A ``GroupLoss``.
        updates_per_batch: Optimizer steps on each batch of groups.
        data: The run's datamodule, or ``None``.
    """
    return {
        "policy": describe(policy),
        **describe_sampler(sampler),
        "loss": describe(loss),
        "updates per batch": str(updates_per_batch),
        **({} if data is None else {"data": describe(data)}),
    }


def stage_row(name: str) -> str:
    """Return the name under which a model card shows a finished stage."""
    return f"stage `{name}`"


def without_stages(parts: Mapping[str, str]) -> dict[str, str]:
    """Return the parts of the current stage, without the rows of earlier stages.

    Example:
        >>> without_stages({"loss": "GFTLoss()", stage_row("sft"): "loss: SFTLoss()"})
        {'loss': 'GFTLoss()'}
    """
    return {name: words for name, words in parts.items() if not name.startswith("stage")}


def _arguments(part: object) -> dict[str, Any]:
    names = inspect.signature(type(part).__init__).parameters
    return {name: getattr(part, name) for name in names if hasattr(part, name)}


def _own_settings(part: object) -> dict[str, Any]:
    """Return settings of this package; a model's configuration is transformers' own, and changes when it is saved."""
    return {name: value for name, value in vars(part).items() if _is_settings(value)}


def _is_settings(value: object) -> bool:
    return is_dataclass(value) and type(value).__module__.startswith("lightning_gft.")


def _hidden(part: Any) -> dict[str, Any]:
    """Return by name what :func:`describe` omits of a part, and of the parts and settings within it."""
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
        hidden["code"] = sorted(filter(None, map(code_digest, [type(part), *functions])))  # the user's code only
    return {name: value for name, value in sorted(hidden.items()) if value not in (None, {}, [])}


def _plain(value: Any) -> Any:
    """Return a value that reads the same in every process: complex objects become their class and code digest."""
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
    """Return a value as Python writes it, and a part as described; paths are cut to their last component."""
    if isinstance(value, Part):  # a loss within a loss, a source within a source
        return describe(value)
    is_path = isinstance(value, str) and "/" in value and Path(value).exists()
    return repr(Path(str(value)).name if is_path else value)
