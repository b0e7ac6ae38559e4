"""Names the component of a configuration whose constructor has raised an error."""

from __future__ import annotations

import functools
import pydoc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jsonargparse import Namespace

from lightning_gft.cli.given import walk
from lightning_gft.errors import GFTError, prefixed

Instantiator = Callable[..., Any]
_PLAIN = (str, int, float, type(None))
_LINKS = "applied_instantiation_links"
"""Argument that jsonargparse gives to an instantiator and not to the constructor."""


def naming(instantiate: Instantiator, config: Namespace, failed: list[Exception]) -> Instantiator:
    """Wrap an instantiator of jsonargparse, so that errors of a constructor carry the component's full setting.

    Args:
        instantiate: Called with a class and the arguments of its constructor.
        config: All settings of the command, in which the component is looked up.
        failed: List to which the errors are appended, as jsonargparse replaces some of them by its own.
    """

    @functools.wraps(instantiate)
    def build(kind: type, /, *args: Any, **arguments: Any) -> Any:
        try:
            return instantiate(kind, *args, **arguments)
        except Exception as error:
            failed.append(error)
            if not component_of(error):
                _name(error, kind, arguments, config)
            raise

    return build


@contextmanager
def naming_setting(setting: str) -> Iterator[None]:
    """Context in which errors carry the setting that they are about; those of this package name theirs already.

    Example:
        >>> try:
        ...     with naming_setting("`trainer`"):
        ...         raise ValueError("invalid limit_val_batches")
        ... except ValueError as error:
        ...     print(component_of(error), error)
        `trainer` invalid limit_val_batches
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, GFTError) and not component_of(error):
            _carry(error, setting)
        raise


def component_of(error: Exception) -> str:
    """Return the setting and the class of the component whose constructor raised an error; empty if none did."""
    return str(getattr(error, "gft_component", ""))


def _carry(error: Exception, component: str) -> None:
    error.gft_component = component  # type: ignore[attr-defined]
    if not isinstance(error, GFTError):
        error.add_note(f"raised for {component}")


def _name(error: Exception, kind: type, arguments: Mapping[str, Any], config: Namespace) -> None:
    path, class_path = find(kind, arguments, config)
    _carry(error, f"`{path}` ({class_path})" if path else class_path)
    if isinstance(error, GFTError):
        message = prefixed(str(error), path or kind.__name__, arguments, class_path)
        error.args = (message, *error.args[1:])
        if isinstance(error, ImportError):
            error.msg = message  # its text, rather than the arguments


def find(kind: type, arguments: Mapping[str, Any], config: Namespace) -> tuple[str, str]:
    """Return where a configuration has a component, and its class path.

    Args:
        kind: Class of the component.
        arguments: Arguments of its constructor; those that are components are built already.
        config: All settings of a command.

    Returns:
        An empty place if none, or more than one, has this class and the same plain arguments.

    Example:
        >>> from torch.optim import SGD
        >>> config = Namespace(model=Namespace(optimizer=Namespace(class_path="torch.optim.SGD",
        ...     init_args=Namespace(lr=-1.0))))
        >>> find(SGD, {"lr": -1.0}, config), find(SGD, {"lr": -2.0}, config)
        (('model.optimizer', 'torch.optim.SGD'), ('', 'torch.optim.sgd.SGD'))
    """
    name = f"{kind.__module__}.{kind.__qualname__}"
    passed = {argument: value for argument, value in arguments.items() if argument != _LINKS}
    of_class, of_arguments = [], []
    for path, node in walk(config.as_dict()):
        if not isinstance(node, Mapping):
            continue
        class_path = node.get("class_path")
        if isinstance(class_path, str):
            settings = {**(node.get("init_args") or {}), **(node.get("dict_kwargs") or {})}
            if pydoc.locate(class_path) is kind and _agree(settings, passed):
                of_class.append((path, class_path))
        elif node and node.keys() == passed.keys() and _agree(node, passed):
            of_arguments.append((path, name))
    places = of_class or of_arguments
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
