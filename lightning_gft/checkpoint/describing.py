"""What a run was made of, in words, for its checkpoints and for the card of what is exported from them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from torch import nn

from lightning_gft.parts import Part

_PLAIN = (bool, int, float, str)


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
    names = [name for name in inspect.signature(type(part).__init__).parameters if hasattr(part, name)]
    kinds = (*_PLAIN, nn.Module, Part)  # a module, such as a rectifier, shows itself
    shown = [f"{name}={_shown(getattr(part, name))}" for name in names if isinstance(getattr(part, name), kinds)]
    # Settings of this package; a model's configuration is one of transformers, which changes it when it saves a model.
    shown += [repr(value) for value in vars(part).values() if is_dataclass(value) and _is_own(value)]
    return f"{type(part).__name__}({', '.join(shown)})"


def describe_parts(policy: object, sampler: Any, loss: Any, updates_per_batch: int, data: object) -> dict[str, str]:
    """Return in words what a run is made of, by names that a card shows.

    Args:
        policy: Its loader.
        sampler: A ``GroupSampler``.
        loss: A ``GroupLoss``.
        updates_per_batch: Optimizer steps on each batch of groups.
        data: Its datamodule, if there is one.
    """
    sources = {f"source `{name}`": source for name, source in sampler.sources.items()}
    return {
        "policy": describe(policy),
        **{name: f"{describe(source)}, {source.num_responses} a prompt" for name, source in sources.items()},
        **{f"reward `{name}`": describe(reward) for name, reward in sampler.rewards.items()},
        "total": describe(sampler.total),
        "advantage": describe(sampler.advantage),
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


def _is_own(value: object) -> bool:
    return type(value).__module__.startswith("lightning_gft.")


def _shown(value: object) -> str:
    """Return a value as Python writes it, a part in words; of a path the last part, as the rest means nothing."""
    if isinstance(value, Part):  # a loss within a loss, a source within a source
        return describe(value)
    is_path = isinstance(value, str) and "/" in value and Path(value).exists()
    return repr(Path(str(value)).name if is_path else value)
