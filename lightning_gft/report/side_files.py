"""Reading what a run has left beside its log: a damaged file costs what is damaged of it, not the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MOST = 2**53
"""Largest count, which a float still has exactly."""


@dataclass
class Fault:
    """What is wrong with a kind of side file.

    Args:
        path: The first damaged file.
        place: Its path within the run's folder.
        text: Its first fault.
        more: How many faults there are beside this one.
    """

    path: Path
    place: str
    text: str
    more: int = 0

    def __str__(self) -> str:
        others = f" (and {self.more:,} more like it)" if self.more else ""
        return f"{self.text[:300]}{others}; what is damaged is left out"


@dataclass
class Faults:
    """What is wrong with the side files of a run: one fault a kind of file, however often it is met."""

    by_kind: dict[str, Fault] = field(default_factory=dict)

    def note(self, folder: Path, place: str, text: str) -> None:
        """Note a fault.

        Args:
            folder: That of the run.
            place: Path of the file in it.
            text: What was expected and what was found.
        """
        kind = place.partition("/")[0]
        if kind in self.by_kind:
            self.by_kind[kind].more += 1
        else:
            self.by_kind[kind] = Fault(folder / place, place, " ".join(text.split()))


def is_count(value: object) -> bool:
    """Whether a value is a number of things, not too large to count with."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST


@dataclass(frozen=True)
class Fields:
    """Values of a part of a side file, each asked for by its type; one of another type is left out and told of.

    Args:
        values: By their names.
        tell: Is given each fault.
        prefix: What stands before the names in a fault.
    """

    values: Mapping[str, Any]
    tell: Callable[[str], None]
    prefix: str = ""

    def text(self, name: str) -> str:
        """Return a text; empty where there is none."""
        found: str = self._of(name, "a text", lambda value: isinstance(value, str))
        return found or ""

    def count(self, name: str) -> int | None:
        """Return a count; ``None`` where there is none."""
        found: int | None = self._of(name, "a count", is_count)
        return found

    def part(self, name: str) -> Fields:
        """Return the values below a name; none where there is nothing."""
        found = self._of(name, "values by their names", lambda value: isinstance(value, Mapping))
        return Fields(found or {}, self.tell, f"{self.prefix}{name}.")

    def parts(self, name: str) -> list[Fields]:
        """Return the entries of a list, each of them with values by name."""
        found = self._of(name, "a list", lambda value: isinstance(value, list))
        listed = Fields(
            {str(place): value for place, value in enumerate(found or [])}, self.tell, f"{self.prefix}{name}."
        )
        return [listed.part(place) for place in listed.values]

    def texts(self) -> dict[str, str]:
        """Return the texts among the values."""
        found = {str(name): self.text(name) for name in self.values}
        return {name: text for name, text in found.items() if text}

    def counts(self) -> dict[str, int]:
        """Return the counts among the values."""
        found = {str(name): self.count(name) for name in self.values}
        return {name: count for name, count in found.items() if count is not None}

    def _of(self, name: str, expected: str, fits: Callable[[Any], bool]) -> Any:
        value = self.values.get(name)
        if value is None or fits(value):
            return value
        self.tell(f"`{self.prefix}{name}`: expected {expected}, got {kind_of(value)}")
        return None


def kind_of(value: object) -> str:
    """Return what a value read from JSON or YAML is, without what it holds.

    Example:
        >>> kind_of([1]), kind_of("secret"), kind_of(-3), kind_of({})
        ('a list', 'a text', 'the number -3', 'values by their names')
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"the number {value:.6g}" if isinstance(value, float) or abs(value) <= MOST else "a number beyond 2^53"
    names = {str: "a text", list: "a list", dict: "values by their names", type(None): "null", bool: "true or false"}
    return names.get(type(value), type(value).__name__)
