"""Checks arguments and configuration files as far as that needs neither torch nor Lightning, which take seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightning_gft.checks import closest_name
from lightning_gft.cli.documents import CONFIG, read_files, typed
from lightning_gft.cli.given import flattened
from lightning_gft.cli.layers import check_early_settings, check_order, overlays_among
from lightning_gft.cli.light import PROG
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
        ValueError: If a file cannot be read, or the order leaves a file or a setting without effect.
    """
    files = read_files(args)
    check_order(files)
    check_early_settings(args, files)
    return files


def check_arguments(args: Sequence[str]) -> None:
    """Check the arguments of a command with a configuration, and its files.

    What only the signatures of classes show is left to the parser of the command.

    Args:
        args: Arguments without the program's name.

    Raises:
        ValueError: If a file cannot be read, files or settings come in an order in which one has no effect, the first
            name of a setting is misspelt, or a complete configuration is missing.

    Example:
        >>> check_arguments(["fit", "--config=configs/gsm8k.yaml", "--modle.loss=SFTLoss"])
        Traceback (most recent call last):
        lightning_gft.errors.GFTUsageError: `modle`: expected a setting of the command, got an unknown one; did you ...
    """
    files = check_files(args)
    command = args[0] if args else ""
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
    yield from (option.strip("-+") for option, _ in typed(args) if option.startswith("--"))


def _check_complete(command: str, args: Sequence[str], files: Files) -> None:
    """Raise an error if neither files nor options have the settings of a complete configuration."""
    options = dict(typed(args))
    asks = any(option == "-h" or option.split(".")[-1] in ("--help", _HELP, "--print_config") for option in options)
    if asks or len([value for option, value in typed(args) if option in CONFIG]) > len(files):  # some are read later
        return
    given: dict[str, Any] = {}
    for settings in [*(settings for _, settings in files), {option.strip("-+"): options[option] for option in options}]:
        given |= flattened(settings)
    missing = [f"`{path}`" for path in REQUIRED if not _is_given(path, given)]
    if not missing:
        return
    overlays = overlays_among(name for name, _ in files)
    example = " ".join([PROG, command, *(f"--config={name}" for name in (_BASE, *(name for name, _ in files)))])
    what = f"; {overlays[0]} is an overlay, which changes a complete configuration that comes first" if overlays else ""
    raise GFTUsageError(
        f"{', '.join(missing)}: expected a complete configuration, got none of these settings{what}; give one, as in "
        f"`{example}`"
    )


def _is_given(path: str, given: Mapping[str, Any]) -> bool:
    """Return whether a setting is given, alone or with all of its part, which may be a text or another file."""
    part = path.partition(".")[0]
    return path in given or any(one.startswith(f"{path}.") for one in given) or isinstance(given.get(part), str)
