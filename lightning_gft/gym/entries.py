"""The text that a row stores of an entry of reasoning-gym: JSON, which every file format preserves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lightning_gft.checks import shorten
from lightning_gft.errors import GFTValueError

ENTRY_COLUMN = "entry"
"""Column of the rows with the entry."""
_TUPLE, _PAIRS = "__tuple__", "__pairs__"


@dataclass(frozen=True)
class GymEntry:
    """An entry together with the settings that generated it, as its scorer needs them.

    Args:
        task: Name of the task in reasoning-gym.
        config: Settings of the task that differ from its defaults; some scorers read them.
        entry: The generated ``question``, ``answer`` and ``metadata``.
        scores: The scorer's scores of some answers by name; ``own`` is the entry's own answer, if it has one.
    """

    task: str
    config: Mapping[str, Any]
    entry: Mapping[str, Any]
    scores: Mapping[str, float] = field(default_factory=dict)

    def write(self) -> str:
        """Return a JSON text, which :func:`read_entry` restores exactly, including tuples and keys of dicts.

        Raises:
            TypeError: If JSON cannot represent an object of the entry.

        Example:
            >>> GymEntry("chain_sum", {}, {"answer": "2", "metadata": {"num_terms": (2, 6)}}, {"own": 1.0}).write()
            '{"task": "chain_sum", ... {"num_terms": {"__tuple__": [2, 6]}}}, "scores": {"own": 1.0}}'
        """
        parts = {"task": self.task, "config": self.config, "entry": self.entry, "scores": self.scores}
        return json.dumps(_tag(parts))


def read_entry(text: Any) -> GymEntry:
    """Return the entry that a row stores.

    Raises:
        ValueError: If the text is no entry.

    Example:
        >>> read_entry(GymEntry("chain_sum", {}, {"answer": "2", "metadata": {3: (1, 2)}}).write()).entry["metadata"]
        {3: (1, 2)}
    """
    try:
        stored = json.loads(text, object_hook=_untag)
        return GymEntry(stored["task"], {**stored["config"]}, {**stored["entry"]}, {**stored["scores"]})
    except (TypeError, ValueError, KeyError) as error:
        raise GFTValueError(
            f"the column {ENTRY_COLUMN!r}: expected an entry as ReasoningGymDataModule writes it, got {shorten(text)}; "
            "use rows of a ReasoningGymDataModule, or files that were made from them"
        ) from error


def _tag(value: Any) -> Any:
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {key: _tag(item) for key, item in value.items()}
        return {_PAIRS: [[_tag(key), _tag(item)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {_TUPLE: [_tag(item) for item in value]}
    return [_tag(item) for item in value] if isinstance(value, list) else value


def _untag(stored: dict[str, Any]) -> Any:
    if stored.keys() == {_TUPLE}:
        return tuple(stored[_TUPLE])
    return dict(stored[_PAIRS]) if stored.keys() == {_PAIRS} else stored
