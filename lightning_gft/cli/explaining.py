"""Turns an error of jsonargparse into one line: the full setting, what was expected, what was given, a remedy."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from lightning.pytorch import callbacks, loggers

import lightning_gft
from lightning_gft.checks import cut, did_you_mean
from lightning_gft.cli.entries import abstract_class, arguments, choices, class_paths, incomplete_entry
from lightning_gft.cli.given import full_path
from lightning_gft.cli.unknown import unknown_argument, unknown_paths, unknown_setting
from lightning_gft.cli.wording import LONGEST, mismatch, value_in, worded

_PARTS = [*lightning_gft.__all__, *callbacks.__all__, *loggers.__all__]
"""Classes that a configuration can name without their module."""

_TYPE = re.compile(r"<class '(?:\w+\.)*(\w+)'>|\btyping\.(?=Literal\[)")
_UNION = re.compile(  # for a value that fits none of the types; one that fits in part has a more specific reason
    r"Does not validate against any of the Union subtypes\s+Subtypes: \[(.*)\]\s+Errors:(?:\s+- Expected .*)*"
    r"\s+Given value type: (.*)\s+Given value: (.*?)(?:\. Got value: Namespace\(.*)?(?=\n|\Z)"
)
_AROUND = re.compile(  # lines that say where jsonargparse was, but not what is wrong
    r"Does not validate against any of the Union subtypes$|Subtypes: .*|Errors:$|Given value.*|Expected a path but .*|"
    r"Expected a NoneType.*|Expected a \w+$|Problem with given class_path '[\w.]+':$|Subclass types expect one of:$|"
    r"a class path \(str\)$|a dict with.*|\. Got value: Namespace\(.*|"
    r"Type collections\.abc\.Callable\[.*\] expects a function or a callable class: ?"
)
_OF_THE_CLASS = re.compile(r"Not a valid subclass of |Expected '[\w.]+' to be a subclass of ")
_WITHOUT_CLASS = re.compile(r"Expected an instantiatable class|Not a valid subclass of \w+\. Got value: \{")
_OTHER_KIND = re.compile(r"(?:does not correspond to|to be) a subclass of (\w+)")
_DOTTED = re.compile(r"Expected a dot import path string: ?.*")
_COLLECTIONS = ("<class 'dict'>", "<class 'list'>", "dict", "list")
_ABSTRACT = "Expected an instantiatable class"
_NULL = re.compile(r"(?<=Got value: )None$")
_DOTTED_NAME = re.compile(r"Expected a <class 'dict'>\. Got value: Namespace\(.*")
_WITHOUT_DOTS = "expected names with their settings, got a name with dots; write nested settings in its place"
_UNNAMED = re.compile(r"Import path (?=does not correspond)")
_GIVEN = re.compile(r"Given value: ([\w.]+)$", re.MULTILINE)
_HELP = re.compile(r"^--([\w.]+)\.help: ")
_KEY = re.compile(r'Parser key "([^"]*)":')
_UNKNOWN_PART = re.compile(
    r"module '(?P<module>[\w.]+)' has no attribute '(?P<attribute>\w+)'|dot import path string: ?(?P<part>\w+)$"
)


def explain(message: str, options: Collection[str] = (), given: Mapping[str, Any] = MappingProxyType({})) -> str:
    r"""Return an error of jsonargparse in one line: the full setting, the fault, and the closest valid name.

    Args:
        message: The error as jsonargparse writes it, in several lines.
        options: Settings of the command, for those that do not exist.
        given: Settings that were given, in which the error's is looked up.

    Example:
        >>> explain('Parser key "model.loss":\n  Parser key "weight":\n    Expected a <class \'float\'>. Got value: a')
        "`model.loss.weight`: expected a number, got 'a'"
    """
    message = _with_value(_DOTTED_NAME.sub(_WITHOUT_DOTS, _HELP.sub(r'Parser key "\1": ', message)))
    owner, class_path = class_paths(message)
    keys: dict[str, None] = {}  # ordered, without repeats: several types of a union may report the same key
    reasons: dict[str, None] = {}
    for line in _UNION.sub(_join_union, _TYPE.sub(r"\1", message)).splitlines():
        keys.update(dict.fromkeys(_KEY.findall(line)))
        if reason := _AROUND.sub("", _KEY.sub("", line).strip().removeprefix("- ")).strip():
            reasons[reason] = None
    if unknown := [fault for reason in reasons for fault in _unknown(reason, options, class_path, [*keys], given)]:
        return _sentence(dict.fromkeys(unknown))
    # If a part of a class cannot be instantiated, jsonargparse reports the class as well.
    main = [reason for reason in reasons if not _OF_THE_CLASS.match(reason)] or list(reasons)
    main = [reason for reason in main if not any(one != reason and one.startswith(reason) for one in main)]
    if not keys:
        return _sentence([worded(reason) for reason in main]) or message
    value = value_in(main[0], class_path) if main else ""
    path = full_path(".".join(keys), value, given.items())
    if given.get(path) != "None":  # the text, which jsonargparse writes in the same way
        main = [_NULL.sub("null", reason) for reason in main]
    if value and given.get(path) == value and main[0].startswith(_ABSTRACT):
        return f"`{path}`: {abstract_class(value)}"
    argument = [*keys][-1].rpartition(".")[2]
    if main and _WITHOUT_CLASS.match(main[0]) and (entry := incomplete_entry(path, owner, argument, given)):
        return "`{}`: {}".format(*entry)
    faults = dict.fromkeys(
        cut(worded(reason, class_path), 2 * LONGEST) + _remedy(reason, owner, argument) for reason in main
    )
    return f"`{path}`: {_sentence(faults)}" if faults else message


def _with_value(message: str) -> str:
    """Return an error with the value in each reason that leaves it out."""
    given = _GIVEN.search(message)
    return _UNNAMED.sub(f"Import path {given[1]} ", message) if given else message


def _sentence(faults: Iterable[str]) -> str:
    return " ".join(fault if fault.endswith("?") else f"{fault};" for fault in faults).removesuffix(";")


def _join_union(match: re.Match[str]) -> str:
    types, given_type, value = match.groups()
    part = _DOTTED.search(match[0])
    if part and given_type in _COLLECTIONS:  # one of its entries is at fault
        return part[0]
    value = "null" if given_type == "NoneType" else value
    return mismatch(types, value) + (_meant(value, _PARTS) if part else "")


def _meant(name: str, names: Collection[str]) -> str:
    """Return the end of a reason: the part that was probably meant; none for the name of one that does not fit."""
    return "" if name in names or name in ("None", "null") else did_you_mean(name, names)


def _unknown(
    reason: str, options: Collection[str], class_path: str, keys: Sequence[str], given: Mapping[str, Any]
) -> list[str]:
    """Return the error for each setting that does not exist; none if the reason is another one.

    ``keys`` lead to the class at ``class_path`` that it is a setting of; without any, it is one of the command's.
    """
    paths = unknown_paths(reason)
    if keys:
        full = [full_path(".".join([*keys, path.partition(".")[0]]), "", given.items()) for path in paths]
        return [unknown_argument(path, class_path.rpartition(".")[2], arguments(class_path)) for path in full]
    return [unknown_setting(path, options) for path in paths]


def _remedy(reason: str, owner: str, argument: str) -> str:
    """Return the end of a reason: the name that was probably meant, or those that an argument of a class accepts."""
    if match := _OTHER_KIND.search(reason):
        return choices(owner, argument, match[1])
    if not (unknown := _UNKNOWN_PART.search(reason)):
        return ""
    name = unknown["attribute"] or unknown["part"]
    return _meant(name, _members(unknown["module"]) or _PARTS) or choices(owner, argument)


def _members(module: str | None) -> list[str]:
    """Return the members of a module except other modules, none of which is a part of a run."""
    names = dir(sys.modules[module]) if module in sys.modules else []
    return [name for name in names if f"{module}.{name}" not in sys.modules and not name.startswith("_")]
