"""Reading configurations, and saying in few words what is wrong with one."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import get_loader
from lightning.pytorch.cli import LightningArgumentParser
from typing_extensions import override

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
    r"",
)
_FRAME = re.compile("|".join(f"(?:{frame})" for frame in _FRAMES))
_UNQUOTED = re.compile(r":\s#[^\n]*[},]")
_KEY = re.compile(r'Parser key "([^"]*)":')
_CALLABLE = re.compile(
    r"Type collections\.abc\.Callable\[.*\] expects a function or a callable class: (.*)\. Got value: .*"
)
_MANY = 16  # arguments of a class, too many to list


def load_value(text: str) -> Any:
    """Load YAML, but take for what they are texts that YAML misreads on a command line.

    An answer marker, ``####``, is no comment, and a template, ``Q: {prompt}``, no mapping.

    Args:
        text: A whole file or one value.

    Example:
        >>> load_value("####"), load_value("Q: {prompt}"), load_value("3")
        ('####', 'Q: {prompt}', 3)
    """
    is_value = "\n" not in text
    if is_value and (text.startswith("#") or ("{prompt}" in text and not text.startswith(("{", "[", '"', "'")))):
        return text
    return borrow_schedules(_load_yaml(text))


class Parser(LightningArgumentParser):
    """Tells an error in a line or two, where jsonargparse prints every option that there is."""

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
        'model.loss.weight: expected a float, not a'
    """
    lines = [line.strip().removeprefix("- ") for line in message.splitlines()]
    bare = [_CALLABLE.sub(r"\1", _KEY.sub("", line).strip()) for line in lines]
    wanted = re.findall(r"class_path[ =]'([\w.]+)'|Subtypes: \[<class '([\w.]+)'>, <class 'NoneType'>\]", message)
    described = _find("".join(wanted[-1])) if wanted else None
    reasons = dict.fromkeys(_reword(line, options, described) for line in bare if not _FRAME.fullmatch(line))
    if not reasons:
        return message
    setting = ".".join(match[1] for line in lines if (match := _KEY.match(line)))
    setting = {"config": "--config"}.get(setting, setting)
    return (f"{setting}: " if setting else "") + "; ".join(reasons)


def _reword(reason: str, options: Iterable[str], described: type | None) -> str:
    if match := re.match(r"unrecognized arguments: (--[^=\s]*)(.*)", reason):
        return f"there is no option {match[1]}" + _did_you_mean(match[1], options)
    if match := re.match(r"the following arguments are required: (.*)", reason):
        names = [name.rpartition(".")[2] for name in match[1].split(", ")]
        return "give " + " and ".join(f"--{name}=..." for name in names)
    if match := re.match(r"module '([\w.]+)' has no attribute '(\w+)'", reason):
        return f"{match[1]} has no {match[2]}" + _did_you_mean(match[2], dir(sys.modules[match[1]]))
    if match := re.match(r"Expected an instantiatable class, but ([\w.]+) is abstract", reason):
        return (
            f"an entry has no class_path that says which {match[1].split('.')[-1]} it is; a name that is not there yet "
            "makes a new entry, so perhaps it is misspelt"
        )
    if match := re.match(r"Option '(\w+)' is not accepted", reason):
        return f"the class has no argument {match[1]}" + _likely_argument(match[1], described)
    if match := re.match(r"Expected a typing\.Literal\[(.*)\]\. Got value: (.*)", reason):
        *choices, last = (choice.strip("'") for choice in match[1].split(", "))
        return f"must be {', '.join(choices)}{' or ' if choices else ''}{last}, not {match[2]}"
    if (match := re.match(r"Expected a dot import path string: (.*)", reason)) and is_dataclass(described):
        first = fields(described)[0]
        return f"expected settings of {described.__name__}, such as {{{first.name}: {first.default}}}, not {match[1]}"
    if match := re.match(r"Subcommand '\w+' does not accept option '([^']*)'", reason):
        return f"there is no setting {match[1]}" + _did_you_mean(match[1].split(".")[0], map(_top_level, options))
    if match := re.match(r"Not a valid subclass of (\w+)", reason):
        return f"needs a class_path that says which {match[1]} it is"
    reason = re.sub(r"Expected a <class 'list'>", "expected a list, such as [a, b]", reason)
    return re.sub(r"Expected a <class '(?:\w+\.)*(\w+)'>\. Got value: (.*)", r"expected a \1, not \2", reason)


def _find(class_path: str) -> type | None:
    module, _, name = class_path.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) else None


def _likely_argument(name: str, described: type | None) -> str:
    names = [] if described is None else list(inspect.signature(described).parameters)
    if remedy := _did_you_mean(name, names):
        return remedy
    if 0 < len(names) <= _MANY:
        return f"; it has {', '.join(names)}"
    return "; add .help to the setting to see those it has"


def _top_level(option: str) -> str:
    return option.removeprefix("--").split(".")[0]


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    # The same words in another order are close, too.
    ordered = {"_".join(sorted(other.split("_"))): other for other in names}
    closest = difflib.get_close_matches("_".join(sorted(name.split("_"))), list(ordered), n=1)
    closest = difflib.get_close_matches(name, list(ordered.values()), n=1) or [ordered[key] for key in closest]
    return f"; did you mean {closest[0]}?" if closest else ""


def check_files(args: Iterable[str]) -> None:
    """Refuse configuration files that are no configuration, by their names.

    Args:
        args: Command-line arguments.

    Raises:
        ValueError: If a file is not YAML, or holds no settings.
    """
    args = list(args)
    named = [value for flag, value in pairwise(args) if flag in ("--config", "-c")]
    named += [arg.removeprefix("--config=") for arg in args if arg.startswith("--config=")]
    for path in map(Path, named):
        if path.is_file():
            _check_file(path)


class _StrictLoader(yaml.SafeLoader):
    """Refuses a setting that is there twice, of which YAML would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        repeated = next((key for key in keys if keys.count(key) > 1), None)
        if repeated is not None:
            raise yaml.constructor.ConstructorError(None, None, f"{repeated!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _check_file(path: Path) -> None:
    try:
        text = path.read_text(encoding="utf-8")
        config = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 (a safe loader that refuses more)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        unquoted = isinstance(error, yaml.YAMLError) and _UNQUOTED.search(text)
        hint = " (quote a value that begins with #)" if unquoted else ""
        raise ValueError(f"--config={path} is not YAML: {' '.join(str(error).split())}{hint}") from error
    if not isinstance(config, dict):
        raise ValueError(f"--config={path} holds no settings, which are lines such as `seed_everything: 1`")
