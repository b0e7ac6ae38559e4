"""Checks the command among arguments, and that each value belongs to an option."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from lightning_gft.checks import cut, did_you_mean
from lightning_gft.cli.documents import CONFIG, read_files, typed
from lightning_gft.cli.light import COMMANDS, PROG
from lightning_gft.errors import GFTUsageError

_ALONE = ("--print_shtab", "--help", "-h")
"""Options that need no command."""

_BEFORE = (*CONFIG, "--print_config", *_ALONE)
"""Options that may come before the command."""
_SHOWN = 200

ENVIRONMENT = "JSONARGPARSE_DEFAULT_ENV"
"""Variable with which jsonargparse reads settings from other variables."""


def check_command(args: Sequence[str], commands: Sequence[str]) -> None:
    """Raise an error if arguments that begin with an option have no command, or an option of a command before it.

    Where a file may name the command, and for help, the parser decides.

    Args:
        args: Arguments without the program's name.
        commands: Commands with a configuration.

    Raises:
        ValueError: If they do, or a file cannot be read.

    Example:
        >>> check_command(["--config=all.yaml", "fit", "--trainer.max_steps=3"], ["fit"])
        >>> check_command(["--trainer.max_steps=3", "fit"], ["fit"])
        Traceback (most recent call last):
        lightning_gft.errors.GFTUsageError: `trainer.max_steps`: expected it after `fit`, got it before; begin with ...
    """
    named = next((number for number, arg in enumerate(args) if arg in commands), None)
    if named is None:
        if _may_have_command(args, commands):
            return
        got = (_stray(args) or list(args[:1]) or [""])[0]
        meant = "" if got.startswith("-") else did_you_mean(got, COMMANDS)
        remedy = meant or f"; begin with one of {', '.join(COMMANDS)}"
        raise GFTUsageError(f"`COMMAND`: expected a command before all options, got {cut(got, _SHOWN)!r}{remedy}")
    for option, _ in typed(args[:named]):
        if option not in _BEFORE:
            raise GFTUsageError(
                f"`{option.lstrip('-')}`: expected it after `{args[named]}`, got it before; begin with "
                f"`{PROG} {args[named]}`"
            )


def _may_have_command(args: Sequence[str], commands: Sequence[str]) -> bool:
    """Return whether the parser may take arguments without a command, which a file may name or an option not need."""
    options = [option for option, _ in typed(args)]
    files = [settings for _, settings in read_files(args)]
    are_read = sum(option in CONFIG for option in options) == len(files)  # a pipe can be read only once
    names_one = any(name in settings for settings in files for name in ("subcommand", *commands))
    return not are_read or names_one or any(option in _ALONE for option in options) or ENVIRONMENT in os.environ


def check_values(args: Sequence[str]) -> None:
    """Raise an error for a value that belongs to no option.

    Args:
        args: Arguments without the program's name, which begin with the command.

    Raises:
        ValueError: If there is one.

    Example:
        >>> check_values(["fit", "--config", "a.yaml", "b.yaml"])
        Traceback (most recent call last):
        lightning_gft.errors.GFTUsageError: `b.yaml`: expected an option, got a value without one; give each file its...
    """
    for value in _stray(args):
        is_file = value.endswith((".yaml", ".yml")) or Path(value).is_file()
        remedy = f"give each file its own --config: --config={value}" if is_file else "write settings as --name=value"
        raise GFTUsageError(f"`{cut(value, _SHOWN)}`: expected an option, got a value without one; {remedy}")


def _stray(args: Sequence[str]) -> list[str]:
    return [value for before, value in pairwise(args) if not value.startswith("-") and not _takes_next(before)]


def _takes_next(arg: str) -> bool:
    """Return whether an argument is an option whose value may be the next argument."""
    return arg.startswith("-") and "=" not in arg and not any(value for _, value in typed([arg]))
