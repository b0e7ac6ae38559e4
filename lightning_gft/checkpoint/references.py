"""Reference policies in a state: the policy as loaded is left out, a moved reference is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

_MODEL, _COPY, _MOVED = "policy.model.", "policy.reference_model.", "policy.moved_reference."
_ADAPTER = ".reference."
"""Part of the names of peft's second adapter: the one that a continued run started from."""


def is_reference(name: str) -> bool:
    """Return whether an entry of a state belongs to a reference policy, which a run may keep or not.

    Args:
        name: Name of the entry.
    """
    return name.startswith((_COPY, _MOVED)) or _ADAPTER in name


def with_moved(state: Mapping[str, Any], moved: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return a module's state with the weights of its moved reference.

    Args:
        state: The module's state.
        moved: The reference's weights, by their names in the model.
    """
    return {**state, **{f"{_MOVED}{name}": weight for name, weight in moved.items()}}


def take_moved(state: dict[str, Any]) -> dict[str, Tensor]:
    """Remove the weights of a moved reference from a state, and return them.

    Args:
        state: State of a checkpoint, which is changed in place.
    """
    return {name.removeprefix(_MOVED): state.pop(name) for name in list(state) if name.startswith(_MOVED)}


def weight_name(name: str) -> str:
    """Return the name of the weight that has the shape and layout of an entry of a state.

    Args:
        name: Name of the entry.

    Example:
        >>> weight_name("policy.moved_reference.lm_head.weight"), weight_name("policy.model.lm_head.weight")
        ('policy.model.lm_head.weight', 'policy.model.lm_head.weight')
    """
    return _MODEL + name.removeprefix(_MOVED) if name.startswith(_MOVED) else name
