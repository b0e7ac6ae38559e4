"""Reading configurations, and saying in few words what is wrong with one."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any, NoReturn

from jsonargparse import get_loader
from lightning.pytorch.cli import LightningArgumentParser
from typing_extensions import override

from lightning_gft.checks import did_you_mean
from lightning_gft.cli.documents import check_yaml
from lightning_gft.cli.texts import cut
from lightning_gft.schedules import borrow_schedules

_load_yaml = get_loader("yaml")

_FRAMES = (  # lines that say where jsonargparse was, not what is wrong
    r"Does not validate against any of the Union subtypes",
    r"Subtypes: .*",
    r"Errors:",
    r"Expected a <class 'NoneType'>.*",
    r"Expected a path but .*",
    r"Given value type: .*",
    r"Given value: .*",
    r"(?:Type collections\.abc\.Callable.*: )?Expected 'lightning_gft\.schedules\..*' to be a subclass of .*",
    r"Problem with given class_path '[^']*':",
    r"Subclass types expect one of:|a class path \(str\)|a dict with.*",
    r"",
)
_FRAME = re.compile("|".join(f"(?:{frame})" for frame in _FRAMES))
_KEY = re.compile(r'Parser key "([^"]*)":')
_AROUND_CALLABLE = re.compile(
    r"Type collections\.abc\.Callable\[.*\] expects a function or a callable class: |\. Got value: Namespace\(.*"
)
_SUBTYPE = re.compile(r"Expected a (?:<class '(?:\w+\.)*(\w+)'>|typing\.Literal\[(.*)\])")
_CLASS = "a class path"
_MANY = 16  # arguments of a class, too many to list
_LONG = 200  # characters of a value, too many to show


def load_value(text: str) -> Any:
    r"""Load YAML, but take for what they are texts that YAML misreads on a command line.

    An answer marker, ``####``, is no comment, and a template, ``Q: {prompt}``, no mapping. YAML makes a space of a line
    break within a text, which a shell passes on as it was typed.

    Args:
        text: A whole file or one value.

    Raises:
        ValueError: If it would never end, see :func:`~lightning_gft.cli.documents.check_yaml`.
        yaml.YAMLError: If it is not YAML.

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
    """Reports an error in a line or two, where jsonargparse prints every option that there is."""

    @override
    def parse_args(self, args: Any = None, *rest: Any, **settings: Any) -> Any:
        args = sys.argv[1:] if args is None else args
        if isinstance(args, list):  # a path on the command line is not read as YAML
            pairs = [arg.rpartition("=") for arg in args]
            args = [f"{option}{equals}{borrow_schedules(value)}" for option, equals, value in pairs]
        return super().parse_args(args, *rest, **settings)

    @override
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # it only tries
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        options = [option for action in parser._actions for option in action.option_strings]
        command = parser.prog.replace(" [options]", "")
        sys.stderr.write(f"error: {explain(message, options)}\nWhat there is: {command} --help\n")
        self.exit(2)


def explain(message: str, options: Iterable[str] = ()) -> str:
    r"""Return what an error of jsonargparse comes down to: the setting, what is wrong with it, a likely remedy.

    Args:
        message: As jsonargparse words it.
        options: Options that there are.

    Example:
        >>> explain('Parser key "model.loss":\n  Parser key "weight":\n    Expected a <class \'float\'>. Got value: a')
        'model.loss.weight: expected a float, got a'
    """
    lines = [_AROUND_CALLABLE.sub("", line.strip().removeprefix("- ")) for line in message.splitlines()]
    bare = [_KEY.sub("", line).strip() for line in lines]
    wanted = re.findall(r"class_path[ =]'([\w.]+)'|Subtypes: \[<class '([\w.]+)'>, <class 'NoneType'>\]", message)
    described = _find("".join(wanted[-1])) if wanted else None
    if not is_dataclass(described):  # of which a line of its own says more
        bare = _join_subtypes(bare)
    reasons = dict.fromkeys(_reword(line, options, described) for line in bare if not _FRAME.fullmatch(line))
    if not reasons:
        return message
    setting = ".".join(match[1] for line in lines if (match := _KEY.match(line)))
    setting = {"config": "--config"}.get(setting, setting)
    return (f"{setting}: " if setting else "") + "; ".join(reasons)


def _join_subtypes(lines: list[str]) -> list[str]:
    """Put what each type of a union expects into one line, with the value that is none of them."""
    given = [line.removeprefix("Given value: ") for line in lines if line.startswith("Given value: ")]
    wanted = {line: kind for line in lines if (kind := _kind(line))}
    if not (given and wanted):
        return lines
    if any(line.startswith("Subtypes: ") and "torch.Tensor" in line for line in lines):
        wanted = {line: kind for line, kind in wanted.items() if kind != _CLASS}  # which YAML cannot hold
    rest = [line for line in lines if not _kind(line)]
    return [*rest, f"expected {' or '.join(dict.fromkeys(wanted.values()))}, got {cut(given[-1], _LONG)}"]


def _kind(line: str) -> str | None:
    if line.startswith("Expected a dot import path string: "):
        return _CLASS
    match = _SUBTYPE.fullmatch(line)
    if match is None or match[1] == "NoneType":
        return None
    return _a({"Iterable": "list"}.get(match[1], match[1])) if match[1] else match[2].replace("'", "")


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _reword(reason: str, options: Iterable[str], described: type | None) -> str:
    if match := re.match(r"unrecognized arguments: (--[^=\s]*)(.*)", reason):
        return f"there is no option {cut(match[1], _LONG)}" + did_you_mean(match[1], options)
    if match := re.match(r"the following arguments are required: (.*)", reason):
        names = [name.partition(".")[2] or name for name in match[1].split(", ")]  # without the subcommand
        return "give " + " and ".join(f"--{name}=..." for name in names)
    if match := re.match(r"module '([\w.]+)' has no attribute '(\w+)'", reason):
        return f"{match[1]} has no {match[2]}" + did_you_mean(match[2], dir(sys.modules[match[1]]))
    if match := re.match(r"Expected an instantiatable class, but ([\w.]+) is abstract", reason):
        return (
            f"an entry has no class_path that says which {match[1].split('.')[-1]} it is; a name that is not there yet "
            "makes a new entry, so perhaps it is misspelt"
        )
    if match := re.match(r"Option '(\w+)' is not accepted", reason):
        return f"the class has no argument {match[1]}" + _likely_argument(match[1], described)
    if match := re.match(r"Expected a typing\.Literal\[(.*)\]\. Got value: (.*)", reason):
        *choices, last = (choice.strip("'") for choice in match[1].split(", "))
        return f"expected {', '.join(choices)}{' or ' if choices else ''}{last}, got {match[2]}"
    if (match := re.match(r"Expected a dot import path string: (.*)", reason)) and is_dataclass(described):
        first = fields(described)[0]
        return f"expected settings of {described.__name__}, such as {{{first.name}: {first.default}}}, got {match[1]}"
    if match := re.match(r"Expected a dot import path string: (.*)", reason):
        return f"expected {_CLASS}, such as package.Class, got {cut(match[1], _LONG)}"
    if match := re.match(r"Subcommand '\w+' does not accept option '([^']*)'", reason):
        return f"there is no setting {match[1]}" + did_you_mean(match[1].split(".")[0], map(_top_level, options))
    if match := re.match(r"Not a valid subclass of (\w+)", reason):
        return f"needs a class_path that says which {match[1]} it is"
    reason = re.sub(r"Expected a <class 'list'>", "expected a list, such as [a, b]", reason)
    return re.sub(
        r"Expected a <class '(?:\w+\.)*(\w+)'>\. Got value: (.*)",
        lambda match: f"expected {_a(match[1])}, got {cut(match[2], _LONG)}",
        reason,
    )


def _find(class_path: str) -> type | None:
    module, _, name = class_path.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) else None


def _likely_argument(name: str, described: type | None) -> str:
    names = [] if described is None else list(inspect.signature(described).parameters)
    if remedy := did_you_mean(name, names):
        return remedy
    if 0 < len(names) <= _MANY:
        return f"; it has {', '.join(names)}"
    return "; add .help to the setting to see those it has"


def _top_level(option: str) -> str:
    return option.removeprefix("--").split(".")[0]
