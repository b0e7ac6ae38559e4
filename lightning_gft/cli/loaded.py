"""Looks up classes and functions that are loaded already: a text that only looks like a path must run no code."""

from __future__ import annotations

import sys
from types import FunctionType, ModuleType
from typing import Any


def loaded(path: str) -> type | FunctionType | None:
    """Return the class or function at a dotted path, or ``None`` if nothing has imported it.

    Example:
        >>> loaded("collections.OrderedDict"), loaded("train.jsonl")
        (<class 'collections.OrderedDict'>, None)
    """
    names = path.split(".")
    depths = range(len(names) - 1, 0, -1)
    depth = next((depth for depth in depths if ".".join(names[:depth]) in sys.modules), 0)
    found: Any = sys.modules.get(".".join(names[:depth]))
    for name in names[depth:]:
        found = _members(found).get(name)
    return found if issubclass(type(found), type | FunctionType) else None


def _members(owner: Any) -> dict[str, Any]:
    # `getattr` would call the `__getattr__` of a module, which may import; `vars` loads a module of `LazyLoader`, and
    # `isinstance` asks an object for its `__class__`.
    if issubclass(type(owner), ModuleType):
        return dict(object.__getattribute__(owner, "__dict__"))
    return dict(type.__getattribute__(owner, "__dict__")) if issubclass(type(owner), type) else {}
