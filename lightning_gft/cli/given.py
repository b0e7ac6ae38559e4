"""Finds the full path of a setting among those that were given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

LEFT_OUT = ("init_args", "class_path")
"""Names that a file writes and the command line may leave out."""

LAYERS = (*LEFT_OUT, "dict_kwargs")
"""Names of the parts of a component's settings."""


def flattened(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings within settings, by the path that the command line accepts.

    Example:
        >>> given = {"data": {"class_path": "D", "init_args": {"seed": 3}}, "model.init_args.loss": 2}
        >>> flattened(given)["data.seed"], flattened(given)["model.loss"]
        (3, 2)
    """
    return dict(walk(settings))


def walk(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and the value of all settings within settings; of a component, first the whole, then its class.

    Example:
        >>> list(walk({"data": {"class_path": "D", "init_args": {"seeds": [3]}}}))[1:]
        [('data', 'D'), ('data.seeds', [3]), ('data.seeds[0]', 3)]
    """
    if isinstance(node, Mapping):
        inner = [(".".join([*filter(None, [path]), *_below(str(name))]), value) for name, value in node.items()]
    elif isinstance(node, list | tuple):
        inner = [(f"{path}[{number}]", value) for number, value in enumerate(node)]
    else:
        return
    for below, value in inner:
        if below != path or not isinstance(value, Mapping):  # a class itself, rather than its arguments
            yield below, value
        yield from walk(value, below)


def is_given_in(layers: Iterable[Mapping[str, Any]], path: str) -> bool:
    """Return whether settings have one at a path or below it.

    Example:
        >>> is_given_in([{"model": {"loss": {"init_args": {"beta": 0.1}}}}], "model.loss")
        True
    """
    return any(one == path or one.startswith(f"{path}.") for layer in layers for one in flattened(layer))


def full_path(path: str, value: str, given: Iterable[tuple[str, Any]]) -> str:
    """Return the setting that an error is about; jsonargparse leaves out the names of entries of a dict.

    Args:
        path: The setting as jsonargparse names it.
        value: Its value as jsonargparse writes it; empty if that is not known.
        given: Settings, as :func:`flattened` returns them.

    Returns:
        The path itself if no setting, or several different ones, may be meant.

    Example:
        >>> given = {"sources.self.top_k": "x", "sources.other.top_k": 3}.items()
        >>> full_path("sources.top_k", "x", given), full_path("sources.top_k", "", given)
        ('sources.self.top_k', 'sources.top_k')
        >>> full_path("sources", "SelfSorce", {"sources.self": "SelfSorce", "sources.expert": "ExpertSource"}.items())
        'sources.self'
    """
    parts, contents = path.split("."), dict(given)
    paths = [found for found in contents if _contains(_names(found), parts)]
    entries = [found for found in contents if _contains(_names(found)[:-1], parts)]
    same, below = ([one for one in some if value and str(contents[one]) == value] for some in (paths, entries))
    candidates = same or below or paths
    return candidates[0] if len(candidates) == 1 else path


def _below(name: str) -> list[str]:
    return [part for part in name.split(".") if part not in LEFT_OUT]


def _names(path: str) -> list[str]:
    return [part.partition("[")[0] for part in path.split(".")]


def _contains(names: list[str], parts: list[str]) -> bool:
    """Return whether names begin and end as parts do, and have the others in the same order."""
    rest = iter(names)
    return names[:1] == parts[:1] and names[-1] == parts[-1] and all(part in rest for part in parts)
