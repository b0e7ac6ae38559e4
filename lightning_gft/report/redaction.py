"""Redacts a configuration and a run's record: a page shows only what is known to be harmless."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lightning_gft.report.known_settings import CHOICES, FIGURES, PLACES, PROSE, SCHEDULES
from lightning_gft.report.private import last_part, without_owner

HIDDEN = "(text)"
_DEEPEST, _LONGEST = 30, 5000
_OPENS = re.compile(
    r"(?:^|[_.-])(?:(?:key|pass|passwd|password|passphrase|phone|pin|pwd|secret)s?|token)$", re.IGNORECASE
)
"""Settings whose numbers may be secrets, such as a PIN or a password."""
_WORD = re.compile(r"[\w.+=*-]{1,64}(?:[,:]\d+)*")
_IDENTIFIER = re.compile(r"[A-Za-z_][\w-]{0,63}")
_CLASS = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_FIGURE = re.compile(r"(?:(?:train|val|test)/)?\w[\w@/.+-]{0,99}")
_HUB = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{7,40}|main")
_VERSION = re.compile(r"\d+(?:\.\w+)*(?:[+-][A-Za-z0-9]+(?:\.\w+)*)?")
_DEVICE = re.compile(r"(?:[A-Za-z0-9 ()_+-]|(?<=\w)\.(?=\d)){1,64}")


def redacted(value: Any, name: str = "", depth: int = 0) -> Any:
    """Return a configuration with its texts replaced, except those that are known to be harmless.

    Args:
        value: A configuration, or a part of it.
        name: Name of the setting.
        depth: Number of settings around it.

    Example:
        >>> redacted({"path": "/home/joe/data/train.jsonl", "api_key": "abc", "lr": 0.1, "precision": "bf16-true"})
        {'path': 'train.jsonl', 'api_key': '(text)', 'lr': 0.1, 'precision': 'bf16-true'}
    """
    if depth < _DEEPEST and isinstance(value, Mapping):
        keys = _keys([str(key) for key in value])
        inner = [name if name == "gates" or _OPENS.search(name) else str(key) for key in value]  # gates: by reward
        return {key: redacted(of, at, depth + 1) for key, at, of in zip(keys, inner, value.values(), strict=True)}
    if depth < _DEEPEST and isinstance(value, list | tuple):
        return [redacted(of, name, depth + 1) for of in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return HIDDEN if _OPENS.search(name) else value
    return _shown(value, name) if isinstance(value, str) else HIDDEN


def described(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a run without texts of an unexpected form.

    Args:
        description: Contents of ``run.json``.

    Example:
        >>> described({"model": "/home/joe/m", "device": {"kind": "cuda", "name": "NVIDIA H200"}, "host": "gpu7"})
        {'device': {'kind': 'cuda', 'name': 'NVIDIA H200'}}
    """
    kept: dict[str, Any] = {}
    for name, value in description.items():
        if name == "device" and isinstance(value, Mapping):
            kept[name] = {key: of if _is_number(of) or _is(of, _DEVICE) else HIDDEN for key, of in value.items()}
        elif name == "versions" and isinstance(value, Mapping):
            kept[name] = {key: of for key, of in value.items() if _is(key, _IDENTIFIER) and _is(of, _VERSION)}
        elif name not in _FIELDS or not isinstance(value, str):
            kept |= {name: redacted(value)} if name in ("data", "starts") or _is_number(value) else {}
        elif _is(value, _FIELDS[name]):
            kept[name] = value
    return kept


_FIELDS = {"model": _CLASS, "precision": _WORD, "started": re.compile(r"[\d:T+. -]{10,40}Z?")}
"""Forms of the texts in a run's description, by field."""


def _shown(text: str, name: str) -> str:
    for names, shown in _KINDS if text else ():
        if name in names:
            return shown(text) or HIDDEN
    return text and HIDDEN


def _place(path: str) -> str | None:
    if _is(path, _HUB) and last_part(path) and _is_harmless(path):
        return path
    last = last_part(path)
    return last if last and "://" not in path and _is(last, _WORD) else None


def _in_form(form: re.Pattern[str]) -> Callable[[str], str | None]:
    return lambda text: text if _is(text, form) else None


_KINDS: Sequence[tuple[frozenset[str], Callable[[str], str | None]]] = (
    (frozenset({"class_path", "function"}), _in_form(_CLASS)),
    (frozenset({"revision"}), lambda text: text if _COMMIT.fullmatch(text) else None),
    (frozenset({"name"}), lambda text: text if text in SCHEDULES else None),
    (CHOICES, _in_form(_WORD)),
    (FIGURES, _in_form(_FIGURE)),
    (PLACES, _place),
    (frozenset({"alphabet"}), lambda text: text if len(set(text)) == len(text) else None),
    (PROSE, lambda text: text if _is_harmless(text) else None),
)
"""Functions that show the texts of settings, by the settings' names."""


def _keys(names: Sequence[str]) -> list[str]:
    """Return the names of settings; a name that is no identifier is replaced by a number."""
    return [
        name if not name or _is(name, _IDENTIFIER) or name.isdecimal() else f"(name {number})"
        for number, name in enumerate(names, start=1)
    ]


def _is(text: Any, form: re.Pattern[str]) -> bool:
    return isinstance(text, str) and form.fullmatch(text) is not None and _is_harmless(text)


def _is_harmless(text: str) -> bool:
    return len(text) <= _LONGEST and without_owner(text) == text


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, int | float)
