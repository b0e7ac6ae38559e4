"""Reports a setting that does not exist, with the sibling that was probably meant."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from lightning_gft.checks import closest_name
from lightning_gft.cli.given import LEFT_OUT

_TYPED = re.compile(r"unrecognized arguments: (--.*)")
_OPTION = re.compile(r"(?<!\S)--([\w.-]+\+?)")
_GIVEN = re.compile(
    r"Subcommand '\w+' does not accept option '([\w.-]+\+?)'|Option '([\w.-]+\+?)' is not accepted(?! before)"
)
_MANY = 16  # settings to list
_ACTIONS = ("config", "print_config", "print_shtab", "help")
"""Options of a command that are no settings."""


def unknown_paths(reason: str) -> list[str]:
    """Return the settings that do not exist according to a reason of jsonargparse; none if it is another reason.

    Example:
        >>> unknown_paths("unrecognized arguments: --max_stps=3 --modle.loss GFTLoss")
        ['max_stps', 'modle.loss']
    """
    if typed := _TYPED.search(reason):
        return _OPTION.findall(typed[1])
    given = _GIVEN.search(reason)
    return [] if given is None else [path for path in given.groups() if path]


def unknown_setting(path: str, known: Iterable[str]) -> str:
    """Return the error for a setting of a run that does not exist: its first unknown name, compared with its siblings.

    Args:
        path: The whole setting, such as ``trainer.max_stps``.
        known: Settings of the command in the same form.

    Example:
        >>> unknown_setting("model.optimiser.lr", ["model.optimizer", "model.loss", "trainer.max_steps"])
        '`model.optimiser`: expected a setting of `model`, got an unknown one; did you mean `model.optimizer`?'
        >>> unknown_setting("max_steps", ["model.optimizer", "model.loss", "trainer.max_steps"])
        '`max_steps`: expected a setting of the command, got an unknown one; did you mean `trainer.max_steps`?'
    """
    if path.endswith("+") and any(f"{name}.".startswith(f"{path[:-1]}.") for name in known):
        return appended(path[:-1])
    paths, parts = [name.split(".") for name in known], path.removesuffix("+").split(".")
    depth = 0
    while depth < len(parts) - 1 and parts[: depth + 1] in [other[: depth + 1] for other in paths]:
        depth += 1
    above, name = parts[:depth], parts[depth]
    siblings = dict.fromkeys(other[depth] for other in paths if other[:depth] == above and len(other) > depth)
    elsewhere = [".".join(other) for other in paths if other[-1] == name.replace("-", "_")]
    remedy = _remedy(name, siblings, ".".join([*above, ""])) or (
        _meant(elsewhere) if elsewhere else _listed([sibling for sibling in siblings if sibling not in _ACTIONS])
    )
    owner = f"`{'.'.join(above)}`" if above else "the command"
    return f"`{'.'.join([*above, name])}`: expected a setting of {owner}, got an unknown one{remedy}"


def unknown_argument(path: str, owner: str, arguments: Collection[str]) -> str:
    """Return the error for an argument that a class does not have.

    Args:
        path: The full setting.
        owner: Name of the class; empty if it is not known.
        arguments: Arguments of the class.

    Example:
        >>> unknown_argument("data.bath_size", "GroupDataModule", ["path", "batch_size"])
        '`data.bath_size`: expected an argument of GroupDataModule, got an unknown one; did you mean `batch_size`?'
    """
    name = path.rpartition(".")[2]
    if name.endswith("+") and name[:-1] in arguments:
        return appended(path[:-1])
    remedy = _remedy(name, arguments) or _remedy(name, LEFT_OUT) or _listed(arguments)
    return f"`{path}`: expected an argument of {owner or 'the class'}, got an unknown one{remedy}"


def appended(path: str) -> str:
    """Return the error for a setting that is appended to although it is no list.

    Example:
        >>> appended("model.loss")
        '`model.loss`: expected a value in its place, got one to append, which only a list takes; remove the +'
    """
    return f"`{path}`: expected a value in its place, got one to append, which only a list takes; remove the +"


def _remedy(name: str, siblings: Iterable[str], prefix: str = "") -> str:
    closest = closest_name(name, siblings)
    return _meant([f"{prefix}{closest}"]) if closest else ""


def _meant(paths: Iterable[str]) -> str:
    return f"; did you mean {' or '.join(f'`{path}`' for path in paths)}?"


def _listed(names: Collection[str]) -> str:
    return f"; it has {', '.join(names)}" if 0 < len(names) <= _MANY else ""
