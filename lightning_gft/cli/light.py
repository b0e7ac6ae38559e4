"""The commands of ``lightning-gft``, and the light ones, which import neither torch nor Lightning to start."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import lightning_gft
from lightning_gft.checks import cut, did_you_mean
from lightning_gft.cli.leaving import ending_at_once
from lightning_gft.cli.reporting import USAGE, one_line_mistakes, report, see_help

PROG = "lightning-gft"

COMMANDS = {
    "fit": "Train a policy.",
    "validate": "Measure a policy on the validation data.",
    "test": "Measure a policy on the test data.",
    "predict": "Sample groups and write them to disk.",
    "export": "Write a policy in Hugging Face's format, from a checkpoint or as loaded.",
    "inspect": "Report on the data before training.",
    "rescore": "Score stored groups with other rewards.",
    "report": "Compare runs in a table, a plot and a page, also while they run.",
    "quickstart": "Fine-tune a small model by SFT and by GFT, and compare them: a few minutes on a CPU.",
    "configs": "List or copy the configurations that come with the package.",
    "doctor": "Test libraries, devices and folders of this machine, and print remedies for failures.",
}
"""What each command does, as the help lists them."""

LIGHT = {
    "report": "lightning_gft.report.command",
    "quickstart": "lightning_gft.cli.quickstart",
    "configs": "lightning_gft.cli.configs",
    "doctor": "lightning_gft.cli.doctor.command",
}
"""Modules of the commands that take no configuration; each has ``describe(parser)`` and ``run(options)``."""

_EPILOG = "Each command describes its arguments: lightning-gft fit --help"
_SHOWN = 60


class _Parser(argparse.ArgumentParser):
    """Reports an error in the form of the commands with a configuration, and takes no abbreviation for an option."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        report(message, see_help(self.prog))
        self.exit(USAGE)


def is_light(args: Sequence[str]) -> bool:
    """Return whether arguments need no configuration: a light command, help, the version, or a mistake.

    Example:
        >>> is_light(["configs"]), is_light(["--version"]), is_light(["fti"])
        (True, True, True)
        >>> is_light(["fit", "--config", "my.yaml"]), is_light(["--config", "my.yaml", "fit"])
        (False, False)
    """
    if not args or args[0] in ("-h", "--help", "--version"):
        return True
    return args[0] in LIGHT or not (args[0] in COMMANDS or args[0].startswith("-"))


def run_light(args: Sequence[str]) -> None:
    """Run arguments for which :func:`is_light` is true; errors end the process.

    Args:
        args: Arguments without the program's name.
    """
    named = args[0] if args and not args[0].startswith("-") else None
    parser = _Parser(prog=PROG, description="Group Fine-Tuning of language models.", epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"{PROG} {lightning_gft.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listed = {name: commands.add_parser(name, help=text, description=text) for name, text in COMMANDS.items()}
    if named in LIGHT:
        _part(named, "describe")(listed[named])
    elif named is not None:
        remedy = did_you_mean(named, COMMANDS) or f"; it has {', '.join(COMMANDS)}"
        parser.error(f"`COMMAND`: expected a command of {PROG}, got {cut(named, _SHOWN)!r}{remedy}")
    options, unknown = parser.parse_known_args(args)
    if unknown:
        remedy = did_you_mean(unknown[0].partition("=")[0], _options(listed[str(named)], args[1:]))
        listed[str(named)].error(f"unrecognized arguments: {' '.join(unknown)}{remedy}")
    with one_line_mistakes(program_of(args)):
        _part(str(named), "run")(options)


def program_of(args: Sequence[str]) -> str:
    """Return the program with the command that arguments begin with, if they begin with one.

    Example:
        >>> program_of(["fit", "--config=my.yaml"]), program_of(["--config=my.yaml", "fit"])
        ('lightning-gft fit', 'lightning-gft')
    """
    return f"{PROG} {args[0]}" if args and args[0] in COMMANDS else PROG


def _options(parser: argparse.ArgumentParser, args: Sequence[str]) -> list[str]:
    """Return the options of a command and of the action among its arguments."""
    options: list[str] = []
    for action in parser._actions:
        options += action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for name in action.choices.keys() & set(args):
                options += _options(action.choices[name], args)
    return options


def _part(command: str, name: str) -> Any:
    with ending_at_once():
        module = import_module(LIGHT[command])
    return getattr(module, name)
