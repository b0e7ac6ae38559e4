"""Reference policies in a state: the start is loaded again and left out, one that was moved is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

_MODEL, _COPY, _MOVED = "policy.model.", "policy.reference_model.", "policy.moved_reference."
_ADAPTER = ".reference."
"""In the names of peft's second adapter, by which a run that continues from an adapter began."""


def is_reference(name: str) -> bool:
    """Tell whether an entry of a state is a reference policy's: whether a run keeps one is its own affair.

    Args:
        name: The name of the entry.
    """
    return name.startswith((_COPY, _MOVED)) or _ADAPTER in name


def with_moved(state: Mapping[str, Any], moved: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return a module's state with the weights of its moved reference.

    Args:
        state: The module's.
        moved: By their names in the model.
    """
    return {**state, **{f"{_MOVED}{name}": weight for name, weight in moved.items()}}


def take_moved(state: dict[str, Any]) -> dict[str, Tensor]:
    """Remove what :func:`with_moved` has put into a state, and return it.

    Args:
        state: That of a checkpoint.
    """
    return {name.removeprefix(_MOVED): state.pop(name) for name in list(state) if name.startswith(_MOVED)}


def weight_name(name: str) -> str:
    """Return the name of the weight that is laid out like an entry of a state.

    Args:
        name: The name of the entry.

    Example:
        >>> weight_name("policy.moved_reference.lm_head.weight"), weight_name("policy.model.lm_head.weight")
        ('policy.model.lm_head.weight', 'policy.model.lm_head.weight')
    """
    return _MODEL + name.removeprefix(_MOVED) if name.startswith(_MOVED) else name
