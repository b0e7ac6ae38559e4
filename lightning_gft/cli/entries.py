"""Finds the class and the entry of a set, such as a sampler's sources, that an error of jsonargparse is about."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

import lightning_gft
from lightning_gft.checks import closest_name, did_you_mean
from lightning_gft.cli.loaded import loaded

_SET = re.compile(r"\b(?:dict|Mapping)\[")
_MOST_LISTED = 16
_CLASS = "class_path"
_GIVEN_CLASS = re.compile(r"^(.*)given class_path '([\w.]+)'", re.MULTILINE)
_CLASS_PATH = re.compile(r"class_path[ =]'([\w.]+)'")


def described(class_path: str) -> type | None:
    """Return the class at a path, or ``None`` if nothing has imported it."""
    found = loaded(class_path)
    return found if isinstance(found, type) else None


def class_paths(message: str) -> tuple[str, str]:
    """Return the innermost class that exists and the innermost one; of several types of a union, the first."""
    found = [(len(match[1]), match[2]) for match in _GIVEN_CLASS.finditer(message)]
    depths = dict(reversed(found))  # the first class of each indentation
    paths = [depths[depth] for depth in sorted(depths)] or _CLASS_PATH.findall(message)
    existing = [path for path in paths if described(path)]
    return existing[-1] if existing else "", paths[-1] if paths else ""


def arguments(class_path: str) -> list[str]:
    """Return the names of a class's arguments; none if nothing has imported it."""
    owner = described(class_path)
    return list(inspect.signature(owner).parameters) if owner else []


def incomplete_entry(path: str, class_path: str, argument: str, given: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the setting of the entry of a set that has no class, and what is wrong with it.

    Args:
        path: Full setting of the set, or of the entry if that is known.
        class_path: Class whose argument the set is.
        argument: Name of the argument.
        given: Settings that were given, as :func:`~lightning_gft.cli.given.flattened` returns them.

    Returns:
        ``None`` if the argument is no set, or each entry has a class.

    Example:
        >>> from lightning_gft import GroupSampler
        >>> given = {"sources.self": "lightning_gft.SelfSource", "sources.selff.top_k": 3}
        >>> incomplete_entry("sources", "lightning_gft.GroupSampler", "sources", given)
        ('sources.selff', 'expected a class_path, got none; did you mean self?')
    """
    if not _SET.search(_annotation(class_path, argument)):
        return None
    above, _, last = path.rpartition(".")
    whole, known = (path, []) if last == argument else (above, [last])
    below = dict.fromkeys(
        one.removeprefix(f"{whole}.").partition(".")[0] for one in given if one.startswith(f"{whole}.")
    )
    complete = [name for name in below if isinstance(given.get(f"{whole}.{name}"), str)]
    name = next((name for name in known or below if name not in complete), None)
    if name is None:
        return None
    inner = [
        one.removeprefix(f"{whole}.{name}.").partition(".")[0] for one in given if one.startswith(f"{whole}.{name}.")
    ]
    if misspelt := next((one for one in inner if closest_name(one, [_CLASS])), ""):
        return f"{whole}.{name}", f"expected a class_path, got {misspelt}; did you mean {_CLASS}?"
    others = f"; the others are {', '.join(complete)}" if complete else ""
    return f"{whole}.{name}", f"expected a class_path, got none{did_you_mean(name, complete) or f'; add it{others}'}"


def abstract_class(class_path: str) -> str:
    """Return what is wrong with a class that lacks methods.

    Example:
        >>> from lightning_gft import RolloutEngine
        >>> abstract_class("lightning_gft.RolloutEngine")
        'expected a class with all methods, got lightning_gft.RolloutEngine, which lacks generate; write them'
    """
    missing = sorted(getattr(described(class_path), "__abstractmethods__", ()))
    remedy = f", which lacks {', '.join(missing)}; write them" if missing else "; name a class derived from it"
    return f"expected a class with all methods, got {class_path}{remedy}"


def choices(class_path: str, argument: str, kind: str = "") -> str:
    """Return the end of an error that lists the package's classes that fit; empty if there are none or too many.

    Args:
        class_path: Class with an argument that another class was given for.
        argument: Name of the argument.
        kind: Base class of those that fit; empty to look it up in the argument's annotation.

    Example:
        >>> from lightning_gft import GroupSampler
        >>> choices("lightning_gft.GroupSampler", "total")
        '; choose one of GatedSum, WeightedSum'
    """
    words = [kind] if kind else re.findall(r"\w+", _annotation(class_path, argument))
    bases = [getattr(lightning_gft, word) for word in words if word in lightning_gft.__all__]
    fitting = [name for name in lightning_gft.__all__ if _is_one(getattr(lightning_gft, name), tuple(bases))]
    return f"; choose one of {', '.join(fitting)}" if 0 < len(fitting) <= _MOST_LISTED else ""


def _is_one(member: Any, bases: tuple[Any, ...]) -> bool:
    kinds = tuple(base for base in bases if isinstance(base, type))
    return isinstance(member, type) and issubclass(member, kinds) and not inspect.isabstract(member)


def _annotation(class_path: str, argument: str) -> str:
    owner = described(class_path)
    parameter = inspect.signature(owner).parameters.get(argument) if owner else None
    return "" if parameter is None else str(parameter.annotation)
