"""Reads configurations, and reports jsonargparse's errors in a line."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NoReturn, get_args

import yaml
from jsonargparse import Namespace, get_loader
from lightning.pytorch.cli import LightningArgumentParser
from typing_extensions import override

import lightning_gft
from lightning_gft.cli.arguments import incomplete
from lightning_gft.cli.components import Components, Instantiator
from lightning_gft.cli.documents import check_yaml, read_files, typed
from lightning_gft.cli.explaining import explain
from lightning_gft.cli.given import flattened
from lightning_gft.cli.ignored import ignored
from lightning_gft.cli.light import COMMANDS
from lightning_gft.cli.reporting import USAGE, report, see_help, shows_traceback
from lightning_gft.cli.yaml_errors import place_of_error, problem_of
from lightning_gft.schedules import borrow_schedules

_load_yaml = get_loader("yaml")

_BEGIN = 20
"""Characters of a value by which an error that shows it is recognised."""

_NO_VALUE = re.compile(r"argument (--[\w.]+\+?): expected one argument")
_MISSING = re.compile(r"the following arguments are required: ([\w.]+(?:, [\w.]+)*)")


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


def import_parts() -> None:
    """Import all parts of the package: jsonargparse finds a class by its name alone only once it is imported."""
    for name in lightning_gft.__all__:
        getattr(lightning_gft, name)


class Parser(LightningArgumentParser):
    """Reports an error in a line or two, where jsonargparse prints every option."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        import_parts()
        super().__init__(*args, allow_abbrev=False, **settings)  # a misspelt setting is no other one
        self._arguments: list[str] = []
        self._files: list[tuple[str, dict[str, Any]]] = []
        self._added: list[tuple[Instantiator, type, bool]] = []
        self.components = Components({})

    @override
    def parse_args(self, args: Any = None, *rest: Any, **settings: Any) -> Any:
        args = sys.argv[1:] if args is None else args
        if isinstance(args, list):  # so that a path on the command line is not parsed as YAML
            pairs = [arg.rpartition("=") for arg in args]
            args = self._arguments = [f"{option}{equals}{borrow_schedules(value)}" for option, equals, value in pairs]
            self._files = read_files(args)  # now: while jsonargparse reads a file, its folder is the current one
        parsed = super().parse_args(args, *rest, **settings)
        if "config" not in _settings(self):  # parses a single setting for the one of a command
            return parsed
        if faults := dict.fromkeys(self._ignored(parsed)):
            self.error("\n".join(faults))
        return parsed

    @override
    def add_instantiator(self, instantiator: Instantiator, class_type: type, subclasses: bool = True) -> None:
        self._added.append((instantiator, class_type, subclasses))

    @override
    def instantiate(self, namespace: Namespace, *args: Any, **settings: Any) -> Namespace:
        if self._added:  # the parser of the whole command
            self.components = Components(namespace.get(namespace.get("subcommand"), namespace).as_dict())
            # The first that fits is used: Lightning's, and then this one, before any that are registered globally.
            kinds = [*self._added, (lambda kind, /, *args, **arguments: kind(*args, **arguments), object, True)]
            settings["instantiators"] = [(self.components.building(build), kind, below) for build, kind, below in kinds]
        try:
            made: Namespace = super().instantiate(namespace, *args, **settings)
        except Exception as error:  # noqa: BLE001 (raised below)
            raised = self.components.raised(error)
        else:
            self.components.failed.clear()  # their tracebacks keep parts
            return made
        raise raised

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
        if ex is not None and shows_traceback():
            traceback.print_exception(ex)
        program = parser.prog.replace(" [options]", "")
        command, missing = _missing_from(message)
        if command:
            explained = incomplete(command, missing, [name for name, _ in self._files])
            program = f"{program.removesuffix(f' {command}')} {command}"
        else:
            explained = _without_value(message, self._arguments) or explain(
                message, _settings(parser), dict(self._given())
            )
        report(_of_yaml(explained, self._arguments) or explained, see_help(program))
        self.exit(USAGE)

    def _ignored(self, parsed: Namespace) -> Iterator[str]:
        """Yield the errors of settings that were given and left out by the parser."""
        command, commands = parsed.get("subcommand"), self._subcommands_action
        files = [settings for _, settings in self._files]
        single = [{option.strip("-"): _as_yaml(value)} for option, value in typed(self._arguments) if value]
        if command is not None and commands is not None:  # files before the command
            layers = [layer for layer in [*(_of_command(command, file) for file in files), *single] if layer]
            yield from ignored(layers, parsed[command], _settings(commands.choices[command]))
        else:
            yield from ignored([*files, *single], parsed, _settings(self))
            yield from _nulls(self, [*files, *single], parsed)

    def _given(self) -> Iterator[tuple[str, Any]]:
        """Yield the path and value of all settings of files, and after them those of the command line."""
        for _, settings in self._files:
            yield from flattened(settings).items()
        for option, value in typed(self._arguments):
            yield from flattened({option.strip("-+"): _as_yaml(value)}).items()


def _of_command(command: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of a command in a file, which has sections of commands if it comes before the command."""
    own = settings.get(command, {name: value for name, value in settings.items() if name not in COMMANDS})
    return own if isinstance(own, Mapping) else {}


def _settings(parser: LightningArgumentParser) -> list[str]:
    """Return the settings of a command, in the order of its help."""
    options = [option for action in parser._actions for option in action.option_strings]
    named = [option.removeprefix("--").removesuffix("+") for option in options if option.startswith("--")]
    return [name for name in dict.fromkeys(named) if name != "help" and not name.endswith(".help")]


def _missing_from(message: str) -> tuple[str, list[str]]:
    """Return the command that lacks required settings, and these; none for another error."""
    match = _MISSING.fullmatch(message.strip())
    names = [name.partition(".") for name in match[1].split(", ")] if match else []
    if len({command for command, _, _ in names}) != 1 or not all(path for _, _, path in names):
        return "", []
    return names[0][0], [path for _, _, path in names]


def _without_value(message: str, arguments: Sequence[str]) -> str:
    """Return the error of an option without its value; empty for another error."""
    if not (match := _NO_VALUE.fullmatch(message.strip())):
        return ""
    named, bare = match[1], [one for one, after in pairwise([*arguments, "--"]) if after.startswith("--")]
    # jsonargparse names `--data` for `--data.batch_size`.
    option = next((one for one in bare if one == named or one.startswith(f"{named}.")), named)
    return f"`{option.lstrip('-')}`: expected a value, got none; give one, as in {option}=..."


def _nulls(parser: LightningArgumentParser, layers: Sequence[Mapping[str, Any]], parsed: Namespace) -> Iterator[str]:
    """Yield the errors of settings that were set to null, which jsonargparse accepts for any type."""
    given = {path: value for layer in layers for path, value in flattened(layer).items()}
    for action in parser._actions:
        kind = getattr(action, "_typehint", None)
        has_null = action.default is None or kind in (None, Any) or type(None) in get_args(kind)
        if not has_null and given.get(action.dest, "") is None and parsed.get(action.dest) is None:
            yield f"`{action.dest}`: expected a value, got null; remove it for the default, {action.default}"


def _of_yaml(explained: str, arguments: Iterable[str]) -> str:
    """Return the error of a setting whose value on the command line begins as YAML and is none; empty for another."""
    for option, value in typed(arguments):
        setting = next(iter(flattened({option.strip("-+"): value})))
        is_at_fault = explained.startswith(f"`{setting}`:") and value[:_BEGIN] in explained
        if value.startswith(("{", "[")) and is_at_fault:
            try:
                check_yaml(value)
            except yaml.YAMLError as error:
                return f"`{setting}`, {place_of_error(error, value)}: {problem_of(error, value)}"
    return ""


def _as_yaml(text: str) -> Any:
    """Return a value of the command line, or its text if it is no YAML."""
    try:
        return load_value(text)
    except (yaml.YAMLError, ValueError):
        return text
