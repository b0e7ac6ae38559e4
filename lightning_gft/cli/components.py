"""Names the component of a configuration that has raised an error, while it was built or later."""

from __future__ import annotations

import functools
import inspect
import re
import traceback
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from types import CodeType, FrameType, FunctionType
from typing import Any, NamedTuple

from lightning_gft.cli.given import walk
from lightning_gft.cli.loaded import loaded
from lightning_gft.cli.nodes import Node, compared, find, nodes_of
from lightning_gft.errors import GFTError, place_of, prefixed, replaced, without_repeated

Instantiator = Callable[..., Any]
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


class _Built(NamedTuple):
    part: Callable[[], Any]
    """Returns the part while it is in use: naming errors keeps nothing alive, such as the state of an optimizer."""
    kind: type
    arguments: Mapping[str, Any]


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
        self._built: list[_Built] = []
        self._own: list[tuple[Callable[[], Any], str, str]] = []

    def building(self, instantiate: Instantiator) -> Instantiator:
        """Wrap an instantiator of jsonargparse, which is called with a class and the arguments of its constructor."""

        @functools.wraps(instantiate)
        def build(kind: type, /, *args: Any, **arguments: Any) -> Any:
            try:
                part = instantiate(kind, *args, **arguments)
            except Exception as error:
                self.failed.append(error)
                if not component_of(error):
                    self._name(error, kind, arguments)
                raise
            self._add(part, kind, arguments)
            return part

        return build

    def add_own(self, part: Any, option: str, setting: str) -> None:
        """Add a part that the command builds without settings of its own.

        Args:
            part: The part, to which no strong reference is kept.
            option: Option of the part.
            setting: Full setting that the option follows from.
        """
        self._own.append((_weak(part), option, setting))

    def raised(self, error: Exception) -> Exception:
        """Return the error of a component that has led to an error of jsonargparse, with its setting.

        If a component fits none of several types, jsonargparse raises an error that quotes those of each type.
        """
        found = next((one for one in reversed(self.failed) if _quotes(error, one)), None)
        if found is None:  # a function in place of a class is called without an instantiator
            of_function = any(frame.f_code in self._functions for frame in _frames(error))
            found = error.__cause__ if of_function and isinstance(error.__cause__, Exception) else error
        self.name(found)
        return found

    def name(self, error: BaseException) -> None:
        """Name the component that an error is about: the innermost that was running and has the option at fault.

        For an error of a function that the configuration names, this is the function. An option of the package that
        was checked outside of its component is known if only one component has it. An option of a part that the
        configuration does not have is no option of a component.
        """
        if component_of(error):
            return
        of_other = False
        for frame in _frames(error):
            owner = frame.f_locals.get("self")
            if not of_other and owner is not None and self._name_owner(error, owner):
                return
            if frame.f_code in self._functions:
                _name(error, *self._functions[frame.f_code])
                return
            of_other = of_other or _has_option(error, type(owner), _options(owner))
        if isinstance(error, GFTError) and not of_other:
            others = self._config.keys()  # options of the command itself
            owners = [one for one in self._built if _has_option(error, one.kind, one.arguments.keys() - others)]
            if len(owners) == 1:
                self._name(error, owners[0].kind, owners[0].arguments)

    def _name_owner(self, error: BaseException, owner: Any) -> bool:
        """Name the object in whose method an error was raised, if it has the option; return whether it is named."""
        for part, option, setting in self._own:
            if part() is owner and _has_option(error, type(owner), [option]):
                _say(error, replaced(str(error), option, setting), f"`{setting}`")
                return True
        found = [one for one in self._built if one.part() is owner and _has_option(error, one.kind, one.arguments)]
        if not found and _has_option(error, type(owner), _options(owner)):
            makers = [one for one in self._built if _is_made_by(owner, one.part(), one.arguments)]
            found = [one for one in makers if _has_option(error, type(owner), one.arguments)]
        if len(found) == 1:
            self._name(error, found[0].kind, found[0].arguments)
        return len(found) == 1

    def _name(self, error: BaseException, kind: type, arguments: Mapping[str, Any]) -> None:
        _name(error, *find(kind, arguments, self._nodes), kind, arguments)

    def _add(self, part: Any, kind: type, arguments: Mapping[str, Any]) -> None:
        kept = {name: compared(value) for name, value in arguments.items()}
        # A callable builds the same part again and again: one that is not in use any more adds no knowledge.
        self._built = [one for one in self._built if one[1:] != (kind, kept) or one.part() is not None]
        self._built.append(_Built(_weak(part), kind, kept))

    @functools.cached_property  # here and below: after the first error, as an inspection names many
    def _functions(self) -> dict[CodeType, tuple[str, str]]:
        return dict(_functions(self._config))

    @functools.cached_property
    def _nodes(self) -> list[Node]:
        return [*nodes_of(self._config)]


def _weak(part: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(part)
    except TypeError:  # such as a tuple, which is then not known by itself
        return lambda: None


def _is_made_by(owner: Any, part: Any, arguments: Mapping[str, Any]) -> bool:
    """Return whether a component holds such an object, made from the same options, such as the columns of its data."""
    held, has = (getattr(one, "__dict__", {}) for one in (part, owner))
    if type(owner) not in map(type, held.values()):  # another one may be a copy
        return False
    repeated = arguments.keys() & _options(owner)
    return all(name in has and compared(has[name]) == arguments[name] for name in repeated)


def _options(owner: Any) -> Collection[str]:
    kind: Any = type(owner)
    return _options_of(kind)


@functools.cache
def _options_of(kind: type) -> Collection[str]:
    """Return the names of a class's arguments."""
    try:
        parameters = inspect.signature(kind).parameters.values()
    except (TypeError, ValueError):  # a class of a compiled module
        return ()
    return [one.name for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]


def _has_option(error: BaseException, kind: type, options: Collection[str]) -> bool:
    return place_of(str(error), options, _classes(kind)) is not None


def _classes(kind: type | None) -> list[str]:
    return [] if kind is None else [base.__name__ for base in kind.__mro__]


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
        if isinstance(function := loaded(given), FunctionType) and inspect.isfunction(
            function := inspect.unwrap(function)
        ):
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
    message, classes = str(error), _classes(kind)
    at = place_of(message, options, classes)
    if at is None and not isinstance(error, GFTError):
        error.gft_component = component  # type: ignore[attr-defined]
        error.add_note(f"raised for {component}")
        return
    at = at or 0
    full = prefixed(message[at:], path or getattr(kind, "__name__", ""), options, class_path, classes)
    _say(error, without_repeated(message[:at], path) + full, component)


def _say(error: BaseException, message: str, component: str) -> None:
    """Give an error a message that names the setting of its component."""
    error.args = (message, *error.args[1:])
    error.gft_component, error.gft_named = component, True  # type: ignore[attr-defined]
    if isinstance(error, ImportError):
        error.msg = message  # its text, rather than the arguments


def unnamed_component_of(error: BaseException) -> str:
    """Return the component of :func:`component_of` if the error's message does not name its setting."""
    return "" if getattr(error, "gft_named", False) else component_of(error)
