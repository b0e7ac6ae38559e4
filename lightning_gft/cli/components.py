"""Names the component of a configuration that has raised an error, while it was built or later."""

from __future__ import annotations

import functools
import inspect
import pydoc
import re
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from types import CodeType, FrameType
from typing import Any

from lightning_gft.cli.given import walk
from lightning_gft.errors import GFTError, place_of, prefixed

Instantiator = Callable[..., Any]
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_PLAIN = (str, int, float, type(None))
_LINKS = "applied_instantiation_links"
"""Argument that jsonargparse gives to an instantiator and not to the constructor."""


class Components:
    """The components that a command builds from its configuration, whose errors get their full settings.

    Args:
        config: All settings of the command, in which a component is looked up.

    Attributes:
        failed: Errors of constructors, as jsonargparse replaces some of them by its own.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.failed: list[Exception] = []
        self._config = config
        self._built: list[tuple[Any, type, Mapping[str, Any]]] = []

    def building(self, instantiate: Instantiator) -> Instantiator:
        """Wrap an instantiator of jsonargparse, which is called with a class and the arguments of its constructor."""

        @functools.wraps(instantiate)
        def build(kind: type, /, *args: Any, **arguments: Any) -> Any:
            try:
                part = instantiate(kind, *args, **arguments)
            except Exception as error:
                self.failed.append(error)
                if not component_of(error):
                    _name(error, *find(kind, arguments, self._config), kind, arguments)
                raise
            self._built.append((part, kind, arguments))
            return part

        return build

    def raised(self, error: Exception) -> Exception:
        """Return the error of a component that has led to an error of jsonargparse, with its setting.

        If a component fits none of several types, jsonargparse raises an error that quotes those of each type.
        """
        found = next((one for one in reversed(self.failed) if _quotes(error, one)), None)
        if found is None:  # a function in place of a class is called without an instantiator
            functions = dict(_functions(self._config))
            of_function = any(frame.f_code in functions for frame in _frames(error))
            found = error.__cause__ if of_function and isinstance(error.__cause__, Exception) else error
        self.name(found)
        return found

    def name(self, error: BaseException) -> None:
        """Name the component that an error is about: the innermost that was running and has the option at fault.

        For an error of a function that the configuration names, this is the function. An option of the package that
        was checked outside of its component is known if only one component has it.
        """
        if component_of(error):
            return
        functions = dict(_functions(self._config))
        for frame in _frames(error):
            owner = frame.f_locals.get("self")
            for part, kind, arguments in self._built:
                if part is owner and place_of(str(error), arguments) is not None:
                    _name(error, *find(kind, arguments, self._config), kind, arguments)
                    return
            if frame.f_code in functions:
                _name(error, *functions[frame.f_code])
                return
        if isinstance(error, GFTError):
            others = self._config.keys()  # options of the command itself
            owners = [built for built in self._built if place_of(str(error), built[2].keys() - others) is not None]
            for _, kind, arguments in owners if len(owners) == 1 else ():
                _name(error, *find(kind, arguments, self._config), kind, arguments)


def _quotes(error: Exception, raised: Exception) -> bool:
    """Return whether an error's text has that of another; one without a text is known only by being the cause."""
    first = str(raised).partition("\n")[0]
    return first in str(error) if first else raised in (error, error.__cause__)


def _frames(error: BaseException) -> Iterator[FrameType]:
    """Yield the frames in which an error and its causes were raised, the innermost first."""
    if error.__cause__ is not None:
        yield from _frames(error.__cause__)
    yield from reversed([frame for frame, _ in traceback.walk_tb(error.__traceback__)])


def _functions(config: Mapping[str, Any]) -> Iterator[tuple[CodeType, tuple[str, str]]]:
    """Yield the code of each function that a configuration names, with its setting and its path."""
    for path, value in walk(config):
        given = value.get("class_path") if isinstance(value, Mapping) else value
        if not isinstance(given, str) or not _DOTTED.fullmatch(given):
            continue
        module, _, name = given.rpartition(".")
        function = getattr(sys.modules.get(module), name, None)  # no import: `rows.csv` is no module
        if callable(function) and inspect.isfunction(function := inspect.unwrap(function)):
            yield function.__code__, (path, given)


def component_of(error: BaseException) -> str:
    """Return the setting and the class of the component that an error was raised for; empty if it is not known."""
    return str(getattr(error, "gft_component", ""))


def _name(
    error: BaseException,
    path: str,
    class_path: str,
    kind: type | None = None,
    options: Collection[str] = (),
) -> None:
    """Add the setting of a component to an error: to its message if that is ours, and otherwise as a note."""
    component = f"`{path}` ({class_path})" if path else class_path
    error.gft_component = component  # type: ignore[attr-defined]
    message, at = str(error), place_of(str(error), options)
    if at is None and not isinstance(error, GFTError):
        error.add_note(f"raised for {component}")
        return
    at = at or 0
    message = message[:at] + prefixed(message[at:], path or getattr(kind, "__name__", ""), options, class_path)
    error.args = (message, *error.args[1:])
    error.gft_named = True  # type: ignore[attr-defined]
    if isinstance(error, ImportError):
        error.msg = message  # its text, rather than the arguments


def unnamed_component_of(error: BaseException) -> str:
    """Return the component of :func:`component_of` if the error's message does not name its setting."""
    return "" if getattr(error, "gft_named", False) else component_of(error)


def find(kind: type, arguments: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[str, str]:
    """Return where a configuration has a component, and its class path.

    Args:
        kind: Class of the component.
        arguments: Arguments of its constructor; those that are components are built already.
        config: All settings of a command.

    Returns:
        An empty place if none, or more than one, has this class and the same plain arguments.

    Example:
        >>> from torch.optim import SGD
        >>> config = {"model": {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": -1.0}}}}
        >>> find(SGD, {"lr": -1.0}, config), find(SGD, {"lr": -2.0}, config)
        (('model.optimizer', 'torch.optim.SGD'), ('', 'torch.optim.sgd.SGD'))
    """
    name = f"{kind.__module__}.{kind.__qualname__}"
    passed = {argument: value for argument, value in arguments.items() if argument != _LINKS}
    of_class, of_arguments = [], []
    for path, node in walk(config):
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
