"""Digests of the user's own code, so that a reward is recognised as changed."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import sysconfig
import textwrap
from functools import partial
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

_INSTALLED = {Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
_PACKAGE = __name__.partition(".")[0]
_CONSTANTS = (bool, int, float, str, bytes, tuple, frozenset)


def code_digest(value: Any) -> str | None:
    """Return a digest of the source of a function, a class or the class of a callable object.

    It covers functions, classes and constants of the same package whose names occur in the source.

    Args:
        value: Any object. Code of this package or an installed one is not covered, as a version identifies it.

    Returns:
        ``None`` if there is no source to cover.
    """
    sources: dict[str, str] = {}
    waiting = _units(value)
    while waiting:
        unit = waiting.pop()
        name = f"{unit.__module__}.{unit.__qualname__}"
        if name in sources or (source := _source(unit)) is None:
            continue
        sources[name] = source
        scope = vars(sys.modules.get(unit.__module__, object))
        for used in _names(source) & scope.keys():
            if isinstance(scope[used], FunctionType | type):
                waiting += [scope[used]] if _package(scope[used]) == _package(unit) else []
            elif isinstance(scope[used], _CONSTANTS):
                sources[f"{unit.__module__}.{used}"] = repr(scope[used])
    return hashlib.sha256(repr(sorted(sources.items())).encode()).hexdigest() if sources else None


def _units(value: Any) -> list[Any]:
    """Return the functions and classes that a value consists of."""
    if isinstance(value, partial):
        return _units(value.func)
    if isinstance(value, MethodType):
        return [value.__func__, *_units(type(value.__self__))]
    value = inspect.unwrap(value) if inspect.isfunction(value) else value
    if isinstance(value, type):
        return [kind for kind in value.__mro__ if kind is not object]
    return [value] if isinstance(value, FunctionType) else _units(type(value))


def _package(unit: Any) -> str:
    return str(unit.__module__).partition(".")[0]


def _source(unit: Any) -> str | None:
    if _package(unit) == _PACKAGE:
        return None
    try:
        file = Path(inspect.getfile(unit)).resolve()
        return None if _INSTALLED & {*file.parents} else inspect.getsource(unit)
    except (OSError, TypeError):  # written in C, or typed into a console
        return None


def _names(source: str) -> set[str]:
    try:
        tree = ast.parse(textwrap.dedent(source))
    except SyntaxError:  # a lambda within a call
        return set()
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
