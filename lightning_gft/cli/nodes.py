"""Finds the settings of a component within a configuration, by its class and its plain arguments."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from lightning_gft.cli.given import walk
from lightning_gft.cli.loaded import loaded

_PLAIN = (str, int, float, type(None))
_LINKS = "applied_instantiation_links"
"""Argument that jsonargparse gives to an instantiator and not to the constructor."""

_OTHER = object()
"""Stands for an argument that is no plain value, which a configuration cannot tell from others."""


class Node(NamedTuple):
    """Settings of a component within a configuration."""

    path: str
    class_path: str  # empty if the settings have none
    kind: type | None
    settings: Mapping[str, Any]


def nodes_of(config: Mapping[str, Any]) -> Iterator[Node]:
    """Yield all settings within a configuration that may be those of a component; no class is imported."""
    for path, node in walk(config):
        if not isinstance(node, Mapping):
            continue
        class_path = node.get("class_path")
        if isinstance(class_path, str):
            if isinstance(kind := loaded(class_path), type):
                parts = [part for part in (node.get("init_args"), node.get("dict_kwargs")) if isinstance(part, Mapping)]
                yield Node(path, class_path, kind, {name: value for part in parts for name, value in part.items()})
        elif node:
            yield Node(path, "", None, node)


def find(kind: type, arguments: Mapping[str, Any], nodes: Collection[Node]) -> tuple[str, str]:
    """Return where a configuration has a component, and its class path.

    Args:
        kind: Class of the component.
        arguments: Arguments of its constructor; those that are components are built already.
        nodes: All settings of a command, as :func:`nodes_of` yields them.

    Returns:
        An empty place if none, or more than one, has this class and the same plain arguments.

    Example:
        >>> from torch.optim import SGD
        >>> config = {"model": {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": -1.0}}}}
        >>> nodes = [*nodes_of(config)]
        >>> find(SGD, {"lr": -1.0}, nodes), find(SGD, {"lr": -2.0}, nodes)
        (('model.optimizer', 'torch.optim.SGD'), ('', 'torch.optim.sgd.SGD'))
    """
    name = f"{kind.__module__}.{kind.__qualname__}"
    passed = {argument: value for argument, value in arguments.items() if argument != _LINKS}
    of_class = [(one.path, one.class_path) for one in nodes if one.kind is kind and _agree(one.settings, passed)]
    places = of_class or [
        (one.path, name)
        for one in nodes
        if one.kind is None and one.settings.keys() == passed.keys() and _agree(one.settings, passed)
    ]
    return places[0] if len(places) == 1 else ("", name)


def _agree(settings: Mapping[str, Any], arguments: Mapping[str, Any]) -> bool:
    return all(name in arguments and _may_be(value, arguments[name]) for name, value in settings.items())


def _may_be(setting: Any, argument: Any) -> bool:
    """Return whether an argument may come from a setting: plain values do if they are equal."""
    if isinstance(setting, Mapping):
        if isinstance(argument, Mapping):
            return setting.keys() == argument.keys() and _agree(setting, argument)
        return not isinstance(argument, (*_PLAIN, list, tuple))
    if isinstance(setting, list | tuple):
        is_list = isinstance(argument, list | tuple) and len(argument) == len(setting)
        return is_list and all(map(_may_be, setting, argument))
    if isinstance(setting, _PLAIN) and isinstance(argument, (*_PLAIN, list, tuple, Mapping)):
        return repr(setting) == repr(argument)  # equal for NaN, and not for True and 1
    return setting is not None


def compared(argument: Any) -> Any:
    """Return what :func:`find` compares of an argument, without any object of the run."""
    if isinstance(argument, Mapping):
        return {name: compared(value) for name, value in argument.items()}
    if isinstance(argument, list | tuple):
        return [compared(value) for value in argument]
    return argument if isinstance(argument, _PLAIN) else _OTHER
