"""Reads the configuration that a run saved, as plain settings of known types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from lightning_gft.report.redaction import redacted
from lightning_gft.report.side_files import Faults, kind_of

_DEEPEST = 50
_MOST = 50_000
"""Settings of one configuration; each use of an alias counts its settings again."""
_MAPPINGS = ("model", "trainer", "data", "init_args")
_UNREADABLE = (
    *(yaml.YAMLError, OSError, RecursionError),
    *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError),  # from tagged values of a wrong form
)


def read_config(folder: Path, faults: Faults) -> dict[str, Any]:
    """Read and redact the newest configuration of a run; without a readable one, the result is empty.

    The result is plain: mappings with texts as keys, lists, texts, numbers, booleans and ``None``.
    """
    kept = sorted(folder.glob("config*.yaml"), key=lambda path: (len(path.name), path.name))
    if not kept:
        return {}
    place = kept[-1].name
    try:
        read = yaml.safe_load(kept[-1].read_text(encoding="utf-8"))
    except _UNREADABLE as error:
        faults.note(folder, place, f"expected YAML, got other text ({type(error).__name__})")
        return {}
    if not isinstance(read, dict):
        faults.note(folder, place, f"expected a configuration, got {kind_of(read)}")
        return {}
    plain = _Plain(lambda text: faults.note(folder, place, text)).mapping(read, (), 0)
    return dict(redacted(plain))


class _Plain:
    def __init__(self, add_fault: Callable[[str], None]) -> None:
        self._add_fault = add_fault
        self._left = _MOST

    def mapping(self, values: Mapping[Any, Any], path: tuple[str, ...], depth: int) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key, value in values.items():
            name = str(key)
            within = (*path, name)
            self._left -= 1
            if self._left <= 0 or depth >= _DEEPEST:
                self._out(within, f"at most {_MOST:,} settings, {_DEEPEST} deep", "more")
                break
            if name in _MAPPINGS and not isinstance(value, Mapping | None):
                self._out(within, "settings by their names", kind_of(value))
            elif name == "class_path" and not isinstance(value, str):
                self._out(within, "the path of a class", kind_of(value))
            else:
                plain[name] = self._value(value, within, depth + 1)
        return plain

    def _value(self, value: Any, path: tuple[str, ...], depth: int) -> Any:
        if isinstance(value, Mapping):
            return self.mapping(value, path, depth)
        if isinstance(value, list | tuple | set):
            named = self.mapping(dict(enumerate(value)), path, depth)
            return list(named.values())
        return value if isinstance(value, str | int | float | None) else str(value)

    def _out(self, path: tuple[str, ...], expected: str, got: str) -> None:
        self._add_fault(f"`{'.'.join(path[:_DEEPEST])}`: expected {expected}, got {got}")
