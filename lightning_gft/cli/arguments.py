"""Checks arguments and configuration files as far as that needs neither torch nor Lightning, which take seconds."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from lightning_gft.checks import closest_name
from lightning_gft.cli.documents import CONFIG, read_files, typed
from lightning_gft.cli.layers import check_early_settings, check_order, overlays_among
from lightning_gft.cli.light import PROG
from lightning_gft.cli.shapes import check_shapes
from lightning_gft.cli.stray import ENVIRONMENT, check_command, check_values
from lightning_gft.cli.unknown import unknown_setting
from lightning_gft.errors import GFTUsageError

_OF_ALL = ("config", "print_config", "seed_everything", "trainer", "model", "data")

SETTINGS = {
    **dict.fromkeys(("fit", "validate", "test", "predict"), (*_OF_ALL, "ckpt_path", "weights_only")),
    "export": (*_OF_ALL, "path", "ckpt_path", "torch_dtype", "merge"),
    "inspect": (*_OF_ALL, "show", "output"),
    "rescore": (*_OF_ALL, "groups", "output", "show", "tolerance"),
}
"""First names of the settings of each command with a configuration."""

REQUIRED = ("model.policy", "model.sampler", "model.loss", "data")
"""Settings that each of these commands requires from a complete configuration."""

_HELP = "help"
_BASE = "configs/gsm8k.yaml"

Files = Sequence[tuple[str, Mapping[str, Any]]]


def check_files(args: Sequence[str]) -> Files:
    """Check the configuration files among arguments, and the order of files and single settings.

    Args:
        args: Arguments without the program's name.

    Returns:
        The name and the settings of each file, as :func:`~lightning_gft.cli.documents.read_files` returns them.

    Raises:
        ValueError: If a file cannot be read, a section of it holds no settings, or the order leaves a file or a setting
            without effect.
    """
    files = read_files(args)
    check_shapes([*(settings for _, settings in files), dict(_given(args))], REQUIRED)
    check_order(files)
    check_early_settings(args, files)
    return files


def _given(args: Sequence[str]) -> Iterator[tuple[str, str]]:
    yield from ((option.strip("-+"), value) for option, value in typed(args) if option.startswith("--"))


def check_arguments(args: Sequence[str]) -> None:
    """Check the arguments of a command with a configuration, and its files.

    Only certain mistakes are errors here. All others are left to the parser of the command, which knows the classes.

    Args:
        args: Arguments without the program's name.

    Raises:
        ValueError: If there is no command, a value belongs to no option, a file cannot be read, files or settings come
            in an order in which one has no effect, the first name of a setting is misspelt, or nothing is given but
            overlays.

    Example:
        >>> check_arguments(["fit", "--config=configs/gsm8k.yaml", "--modle.loss=SFTLoss"])
        Traceback (most recent call last):
        lightning_gft.errors.GFTUsageError: `modle`: expected a setting of the command, got an unknown one; did you ...
    """
    command = args[0] if args else ""
    if command in SETTINGS:
        check_values(args)
    else:
        check_command(args, tuple(SETTINGS))
    files = check_files(args)
    if command in SETTINGS:  # otherwise files have the settings of several commands
        _check_names(args, files, SETTINGS[command])
        _check_complete(command, args, files)


def _check_names(args: Sequence[str], files: Files, known: Sequence[str]) -> None:
    """Raise an error for a first name that is close to one of a setting; any other may be known further inside."""
    for path in _paths(args, files):
        first = path.partition(".")[0]
        if first not in (*known, _HELP) and closest_name(first, known):
            raise GFTUsageError(unknown_setting(path, known))


def _paths(args: Sequence[str], files: Files) -> Iterator[str]:
    for _, settings in files:
        yield from map(str, settings)
    yield from (option for option, _ in _given(args))


def _check_complete(command: str, args: Sequence[str], files: Files) -> None:
    """Raise an error if nothing is given but overlays and a trainer; only the parser knows what other settings lack."""
    options, names = [option for option, _ in typed(args)], [name for name, _ in files]
    others = [option for option in options if option not in CONFIG]
    all_read = len(others) + len(names) == len(options)  # a pipe is read later
    all_of_trainer = all(option.startswith("--trainer.") and not option.endswith(f".{_HELP}") for option in others)
    all_overlays = len(overlays_among(names)) == len(names)
    if all_read and all_of_trainer and all_overlays and ENVIRONMENT not in os.environ:
        raise GFTUsageError(incomplete(command, REQUIRED, names))


def incomplete(command: str, missing: Collection[str], names: Sequence[str]) -> str:
    """Return the error of required settings that are not given.

    Args:
        command: Name of the command.
        missing: Settings that it requires.
        names: Its configuration files.

    Example:
        >>> incomplete("fit", ["data"], []).partition("; ")[2]
        'give one, as in `lightning-gft fit --config=configs/gsm8k.yaml`'
        >>> incomplete("rescore", ["output"], [])
        '`output`: expected a setting that rescore requires, got none; give it, as in --output=...'
    """
    lacking = [path for path in REQUIRED if path in missing]
    listed = ", ".join(f"`{path}`" for path in lacking or missing)
    if not lacking:
        remedy = " ".join(f"--{path}=..." for path in missing)
        return f"{listed}: expected a setting that {command} requires, got none; give it, as in {remedy}"
    overlays = overlays_among(names)
    what = f"; {overlays[0]} is an overlay, which changes a complete configuration that comes first" if overlays else ""
    example = " ".join([PROG, command, *(f"--config={name}" for name in (_BASE, *names))])
    return f"{listed}: expected a complete configuration, got none of these settings{what}; give one, as in `{example}`"
