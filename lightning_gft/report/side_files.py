"""Reads the files beside a run's log. A damaged file loses only its damaged parts, never the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MOST = 2**53
"""Largest count that a float represents exactly."""


@dataclass
class Fault:
    """Faults of one kind of file.

    Args:
        path: The first damaged file.
        place: Its path within the run's folder.
        text: Its first fault.
        more: Number of further faults.
    """

    path: Path
    place: str
    text: str
    more: int = 0

    def __str__(self) -> str:
        others = f" (and {self.more:,} more like it)" if self.more else ""
        return f"{self.text[:300]}{others}; damaged parts are left out"


@dataclass
class Faults:
    """The faults of a run's files: one fault per kind of file, with the number of further ones."""

    by_kind: dict[str, Fault] = field(default_factory=dict)

    def note(self, folder: Path, place: str, text: str) -> None:
        """Add a fault.

        Args:
            folder: Folder of the run.
            place: Path of the file in the folder.
            text: The expected and the actual contents.
        """
        kind = place.partition("/")[0]
        if kind in self.by_kind:
            self.by_kind[kind].more += 1
        else:
            self.by_kind[kind] = Fault(folder / place, place, " ".join(text.split()))


def is_count(value: object) -> bool:
    """Return whether a value is a non-negative count of at most ``MOST``."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST


@dataclass(frozen=True)
class Fields:
    """Typed access to the values of a file; a value of another type is reported and treated as missing.

    Args:
        values: The values by name.
        add_fault: Called with each fault.
        prefix: Text before the names in faults.
    """

    values: Mapping[str, Any]
    add_fault: Callable[[str], None]
    prefix: str = ""

    def text(self, name: str) -> str:
        """Return a text, or an empty one if it is missing."""
        found: str = self._of(name, "a text", lambda value: isinstance(value, str))
        return found or ""

    def count(self, name: str) -> int | None:
        """Return a count, or ``None`` if it is missing."""
        found: int | None = self._of(name, "a count", is_count)
        return found

    def part(self, name: str) -> Fields:
        """Return the values below a name, or none if they are missing."""
        found = self._of(name, "values by their names", lambda value: isinstance(value, Mapping))
        return Fields(found or {}, self.add_fault, f"{self.prefix}{name}.")

    def parts(self, name: str) -> list[Fields]:
        """Return the entries of a list, each of which holds values by name."""
        found = self._of(name, "a list", lambda value: isinstance(value, list))
        listed = Fields(
            {str(place): value for place, value in enumerate(found or [])}, self.add_fault, f"{self.prefix}{name}."
        )
        return [listed.part(place) for place in listed.values]

    def texts(self) -> dict[str, str]:
        """Return all texts among the values."""
        found = {str(name): self.text(name) for name in self.values}
        return {name: text for name, text in found.items() if text}

    def counts(self) -> dict[str, int]:
        """Return all counts among the values."""
        found = {str(name): self.count(name) for name in self.values}
        return {name: count for name, count in found.items() if count is not None}

    def _of(self, name: str, expected: str, fits: Callable[[Any], bool]) -> Any:
        value = self.values.get(name)
        if value is None or fits(value):
            return value
        self.add_fault(f"`{self.prefix}{name}`: expected {expected}, got {kind_of(value)}")
        return None


def kind_of(value: object) -> str:
    """Return the type of a value from JSON or YAML in words, without its contents except for numbers.

    Example:
        >>> kind_of([1]), kind_of("secret"), kind_of(-3), kind_of({})
        ('a list', 'a text', 'the number -3', 'values by their names')
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"the number {value:.6g}" if isinstance(value, float) or abs(value) <= MOST else "a number beyond 2^53"
    names = {str: "a text", list: "a list", dict: "values by their names", type(None): "null", bool: "true or false"}
    return names.get(type(value), type(value).__name__)
