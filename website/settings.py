"""The settings of a class or a command, as the command line parses them."""

from __future__ import annotations

import argparse
import inspect
from argparse import SUPPRESS, Action
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentParser

from website.markup import cell


@dataclass(frozen=True)
class Setting:
    """A setting that YAML and the command line accept."""

    name: str
    type: str
    default: str
    meaning: str

    def row(self) -> str:
        """Return the setting as a row of a table."""
        return f"| `{self.name}` | {_code(self.type)} | {_code(self.default)} | {cell(self.meaning)} |"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def type_text(hint: Any) -> str:
    """Return a type as it is written in code.

    Example:
        >>> type_text(int), type_text(str | None)
        ('int', 'str | None')
        >>> type_text(Callable[[int], dict[str, Literal["a", "b"]]])
        "Callable[[int], dict[str, Literal['a', 'b']]]"
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, list):
        return f"[{', '.join(map(type_text, hint))}]"
    if origin in (Union, UnionType):
        return " | ".join(map(type_text, arguments))
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if origin is not None:
        return f"{origin.__name__}[{', '.join(map(type_text, arguments))}]"
    return {NoneType: "None", Ellipsis: "..."}.get(hint) or str(getattr(hint, "__name__", hint))


def _setting(action: Action, required: frozenset[str]) -> Setting:
    needed = action.dest in required or not action.option_strings
    hint = getattr(action, "_typehint", None) or action.type
    meaning = (action.help or "").replace(" (default: %(default)s)", "")
    given = str(action.default) if isinstance(action.default, Path) else action.default
    default = "required" if needed else repr(given)
    return Setting(action.dest, type_text(hint) if hint else "", default, meaning)


def _required(function: Callable[..., Any]) -> frozenset[str]:
    parameters = inspect.signature(function).parameters.values()
    return frozenset(parameter.name for parameter in parameters if parameter.default is parameter.empty)


def _settings(add: Callable[[ArgumentParser], Any], required: frozenset[str] = frozenset()) -> list[Setting]:
    parser = ArgumentParser(exit_on_error=False)
    add(parser)
    # Actions are argparse's only list of what a parser accepts; jsonargparse adds the hints.
    actions = [action for action in parser._actions if action.default is not SUPPRESS]
    described = [action for action in actions if "Untyped" not in str(getattr(action, "_typehint", ""))]
    return [_setting(action, required) for action in described]


def of_class(kind: type) -> list[Setting]:
    """Return the settings of a class; those of another library without a type are left out.

    Example:
        >>> from lightning_gft import ExpertSource
        >>> of_class(ExpertSource)[0].name, of_class(ExpertSource)[0].default
        ('num_responses', '1')
    """
    return _settings(lambda parser: parser.add_class_arguments(kind, fail_untyped=False), _required(kind))


def of_method(owner: type, method: str, skip: frozenset[str]) -> list[Setting]:
    """Return the settings of a method, without the arguments that the command line fills itself."""
    return _settings(
        lambda parser: parser.add_method_arguments(owner, method, skip=set(skip), fail_untyped=False),
        _required(getattr(owner, method)),
    )


def helps(command: str, describe: Callable[[argparse.ArgumentParser], Any]) -> Iterator[str]:
    """Yield the help of a command that adds its own arguments to a parser, and of the actions among them."""
    parser = argparse.ArgumentParser(prog=f"lightning-gft {command}")
    describe(parser)
    yield parser.format_help()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from (each.format_help() for each in action.choices.values() if len(each._actions) > 1)


def table(settings: list[Setting]) -> str:
    """Return settings as a table."""
    head = "| setting | type | default | meaning |\n|---|---|---|---|"
    return "\n".join([head, *(setting.row() for setting in settings)])


def summary(documented: Any) -> str:
    """Return the first sentence or line of a docstring."""
    return cell((inspect.getdoc(documented) or "").split("\n\n")[0])
