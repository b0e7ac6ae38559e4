"""The settings of a class or a command, as the command line parses them."""

from __future__ import annotations

import inspect
import re
from argparse import SUPPRESS, Action
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from jsonargparse import ArgumentParser

from website.markup import cell

_MODULE = re.compile(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])")
_CLASS = re.compile(r"<class '([\w.]+)'>")
_OPTIONAL = re.compile(r"Optional\[(.*)\]$")
_UNION = re.compile(r"Union\[([^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*)\]")


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
    """Return a type as a reader writes it.

    Example:
        >>> type_text(int), type_text(str | None)
        ('int', 'str | None')
        >>> from typing import Literal, Optional, Union
        >>> type_text(Union[Literal["a", "b"], list[str]]), type_text(Optional[int])
        ("Literal['a', 'b'] | list[str]", 'int | None')
    """
    text = _MODULE.sub("", _CLASS.sub(r"\1", str(hint))).replace("NoneType", "None")
    while match := _UNION.search(text):
        text = text[: match.start()] + " | ".join(_split(match[1])) + text[match.end() :]
    return _OPTIONAL.sub(r"\1 | None", text)


def _split(text: str) -> Iterator[str]:
    """Yield what commas outside of brackets separate."""
    depth, start = 0, 0
    for place, character in enumerate(text):
        depth += (character in "[(") - (character in "])")
        if character == "," and depth == 0:
            yield text[start:place].strip()
            start = place + 1
    yield text[start:].strip()


def _setting(action: Action, required: frozenset[str]) -> Setting:
    default = "required" if action.dest in required else repr(action.default)
    hint = getattr(action, "_typehint", None) or action.type
    return Setting(action.dest, type_text(hint) if hint else "", default, action.help or "")


def _settings(owner: Callable[..., Any], add: Callable[[ArgumentParser], Any]) -> list[Setting]:
    parameters = inspect.signature(owner).parameters.values()
    required = frozenset(parameter.name for parameter in parameters if parameter.default is parameter.empty)
    parser = ArgumentParser(exit_on_error=False)
    add(parser)
    # Names of actions are argparse's only way to list what a parser accepts; jsonargparse adds the hints.
    actions = [action for action in parser._actions if action.default is not SUPPRESS]
    described = [action for action in actions if "Untyped" not in str(getattr(action, "_typehint", ""))]
    return [_setting(action, required) for action in described]


@cache
def of_class(kind: type) -> list[Setting]:
    """Return the settings of a class; those of another library without a type are left out.

    Example:
        >>> from lightning_gft import ExpertSource
        >>> of_class(ExpertSource)[0].name, of_class(ExpertSource)[0].default
        ('num_responses', '1')
    """
    return _settings(kind, lambda parser: parser.add_class_arguments(kind, fail_untyped=False))


def of_method(owner: type, method: str, skip: frozenset[str]) -> list[Setting]:
    """Return the settings of a method, without the arguments that the command line fills itself."""
    return _settings(
        getattr(owner, method),
        lambda parser: parser.add_method_arguments(owner, method, skip=set(skip), fail_untyped=False),
    )


def table(settings: list[Setting]) -> str:
    """Return settings as a table."""
    head = "| setting | type | default | meaning |\n|---|---|---|---|"
    return "\n".join([head, *(setting.row() for setting in settings)])


def summary(documented: Any) -> str:
    """Return the first sentence or line of a docstring."""
    return cell((inspect.getdoc(documented) or "").split("\n\n")[0])
