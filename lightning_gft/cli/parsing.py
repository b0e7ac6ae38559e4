"""Reads configurations, and reports jsonargparse's errors in a line."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Collection
from typing import Any, NoReturn

from jsonargparse import get_loader
from lightning.pytorch import callbacks, loggers
from lightning.pytorch.cli import LightningArgumentParser
from typing_extensions import override

import lightning_gft
from lightning_gft.checks import cut, did_you_mean
from lightning_gft.cli.documents import check_yaml
from lightning_gft.cli.unknown import unknown_argument, unknown_paths, unknown_setting
from lightning_gft.schedules import borrow_schedules

_load_yaml = get_loader("yaml")

_PARTS = [*lightning_gft.__all__, *callbacks.__all__, *loggers.__all__]
"""Classes that a configuration can name without their module."""
_LONG = 200  # characters of a value to show

_TYPE = re.compile(r"<class '(?:\w+\.)*(\w+)'>|\btyping\.(?=Literal\[)")
_MODULE = re.compile(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])")
_UNION = re.compile(  # for a value that fits none of the types; one that fits in part has a more specific reason
    r"Does not validate against any of the Union subtypes\s+Subtypes: \[(.*)\]\s+Errors:(?:\s+- Expected .*)*"
    r"\s+Given value type: .*\s+Given value: (.*)"
)
_AROUND = re.compile(  # lines that say where jsonargparse was, but not what is wrong
    r"Does not validate against any of the Union subtypes$|Subtypes: .*|Errors:$|Given value.*|Expected a path but .*|"
    r"Expected a NoneType.*|Expected a \w+$|Problem with given class_path '[\w.]+':$|Subclass types expect one of:$|"
    r"a class path \(str\)$|a dict with.*|\. Got value: Namespace\(.*|"
    r"Type collections\.abc\.Callable\[.*\] expects a function or a callable class: ?"
)
_KEY = re.compile(r'Parser key "([^"]*)":')
_MISSING = re.compile(r"(the following arguments are required: )([\w.]+(?:, [\w.]+)*)")
_UNKNOWN_PART = re.compile(
    r"module '(?P<module>[\w.]+)' has no attribute '(?P<attribute>\w+)'|dot import path string: (?P<part>\w+)$"
)


def load_value(text: str) -> Any:
    r"""Load YAML, but keep the texts that YAML misreads on a command line.

    An answer marker, ``####``, is no comment, and a template, ``Q: {prompt}``, is no mapping. YAML would replace a line
    break within a text by a space, but a shell passes it on as typed.

    Example:
        >>> load_value("####"), load_value("Q: {prompt}"), load_value("3"), load_value("Q {prompt}\nA")
        ('####', 'Q: {prompt}', 3, 'Q {prompt}\nA')
    """
    is_value = "\n" not in text
    if is_value and (text.startswith("#") or ("{prompt}" in text and not text.startswith(("{", "[", '"', "'")))):
        return text
    check_yaml(text)
    loaded = _load_yaml(text)
    is_plain = isinstance(loaded, str) and loaded.split() == text.split()  # neither quoted nor marked
    return text if is_plain and not is_value else borrow_schedules(loaded)


class Parser(LightningArgumentParser):
    """Reports an error in a line or two, where jsonargparse prints every option."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        for name in lightning_gft.__all__:  # jsonargparse finds a class by its name alone only once it is imported
            getattr(lightning_gft, name)
        super().__init__(*args, allow_abbrev=False, **settings)  # a misspelt setting is no other one

    @override
    def parse_args(self, args: Any = None, *rest: Any, **settings: Any) -> Any:
        args = sys.argv[1:] if args is None else args
        if isinstance(args, list):  # so that a path on the command line is not parsed as YAML
            pairs = [arg.rpartition("=") for arg in args]
            args = [f"{option}{equals}{borrow_schedules(value)}" for option, equals, value in pairs]
        return super().parse_args(args, *rest, **settings)

    # A configuration that is written was parsed before. Validating it again takes longer than parsing it, so only
    # `--print_config`, which asks for it, does.

    @override
    def dump(self, *args: Any, **settings: Any) -> str:
        return str(super().dump(*args, **{"skip_validation": True, **settings}))

    @override
    def save(self, *args: Any, **settings: Any) -> None:
        super().save(*args, **{"skip_validation": True, **settings})

    @override
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # jsonargparse only tries whether the arguments parse
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        options = [option for action in parser._actions for option in action.option_strings]
        command = parser.prog.replace(" [options]", "")
        message, subcommand = _by_option(message)
        if subcommand and not command.endswith(f" {subcommand}"):
            command = f"{command} {subcommand}"
        sys.stderr.write(f"error: {explain(message, options)}\nSee: {command} --help\n")
        self.exit(2)


def explain(message: str, options: Collection[str] = ()) -> str:
    r"""Return an error of jsonargparse in one line: the full key, the fault, and the closest valid name.

    Example:
        >>> explain('Parser key "model.loss":\n  Parser key "weight":\n    Expected a <class \'float\'>. Got value: a')
        'model.loss.weight: Expected a float. Got value: a'
    """
    described = re.findall(r"class_path[ =]'([\w.]+)'", message)
    keys: dict[str, None] = {}  # ordered, without repeats: several types of a union may report the same key
    reasons: dict[str, None] = {}
    for line in _UNION.sub(_join_union, _TYPE.sub(r"\1", message)).splitlines():
        keys.update(dict.fromkeys(_KEY.findall(line)))
        if reason := _AROUND.sub("", _KEY.sub("", line).strip().removeprefix("- ")).strip():
            unknown = _unknown(reason, options, described[-1] if described else "", bool(keys))
            reasons.update(dict.fromkeys(unknown or [cut(reason, 2 * _LONG) + _remedy(reason)]))
    # If a part of a class cannot be instantiated, jsonargparse reports the class as well.
    main = [reason for reason in reasons if not reason.startswith("Not a valid subclass of ")] or list(reasons)
    joined = " ".join(reason if reason.endswith("?") else f"{reason};" for reason in main).removesuffix(";")
    return ": ".join(filter(None, (".".join(keys), joined))) or message


def _join_union(match: re.Match[str]) -> str:
    remedy = did_you_mean(match[2], _PARTS) if "dot import path string" in match[0] else ""
    subtypes = _MODULE.sub("", match[1]).replace("NoneType", "null")
    return f"Expected one of {subtypes}. Got value: {cut(match[2], _LONG)}{remedy}"


def _unknown(reason: str, options: Collection[str], class_path: str, within: bool) -> list[str]:
    """Return the error for each setting that does not exist; none if the reason is another one.

    ``within`` says that it is a setting of the class at ``class_path``, instead of one of the command's.
    """
    paths = unknown_paths(reason)
    if within:
        return [unknown_argument(path, class_path.rpartition(".")[2], _arguments(class_path)) for path in paths]
    named = [option for option in options if option.startswith("--") and option != "--help"]
    settings = [option.removeprefix("--").removesuffix("+") for option in named if not option.endswith(".help")]
    return [unknown_setting(path, settings) for path in paths]


def _remedy(reason: str) -> str:
    """Return the end of a reason: the name that was probably meant."""
    if "Expected an instantiatable class" in reason:
        return "; a new entry, or one whose name is misspelt, needs a class_path"
    if not (unknown := _UNKNOWN_PART.search(reason)):
        return ""
    return did_you_mean(unknown["attribute"] or unknown["part"], _members(unknown["module"]) or _PARTS)


def _by_option(message: str) -> tuple[str, str]:
    """Return an error with missing arguments written as options of their subcommand, and the subcommand's name."""
    if not (missing := _MISSING.fullmatch(message.strip())):
        return message, ""
    names = [name.partition(".") for name in missing[2].split(", ")]
    options = [f"--{name}" for _, _, name in names]
    if len({subcommand for subcommand, _, _ in names}) > 1 or "--" in options:
        return message, ""
    return missing[1] + ", ".join(options), names[0][0]


def _members(module: str | None) -> list[str]:
    """Return the members of a module except other modules, none of which is a part of a run."""
    names = dir(sys.modules[module]) if module in sys.modules else []
    return [name for name in names if f"{module}.{name}" not in sys.modules and not name.startswith("_")]


def _arguments(class_path: str) -> list[str]:
    module, _, name = class_path.rpartition(".")
    described = getattr(sys.modules.get(module), name, None)
    return list(inspect.signature(described).parameters) if isinstance(described, type) else []
