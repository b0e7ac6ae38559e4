"""Collects the errors about the data, and lists those of each kind briefly."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from lightning_gft.errors import GFTError

_OF_A_KIND = 10
_LISTED = 200
_WHERE = re.compile(r"(?:train|val|test)(?:/[^:,\s]+)? data[:,] ")
_ROW = re.compile(r"row .*?\(counting from 0\)")
FAULTS = (GFTError, ValueError, TypeError, OSError)
"""Errors about the data. Any other error is a mistake in the code and keeps its traceback."""


class Problems:
    """Collects errors; of those that differ only in their row, it lists the first few and counts the others.

    Example:
        >>> problems = Problems()
        >>> for row in range(12):
        ...     problems.add(ValueError(f"row {row} (counting from 0): expected a text, got {row}"))
        >>> len(problems), problems.lines()[-1]
        (12, '... and 2 more like it: row 11 (counting from 0): expected a text, got 11')
    """

    def __init__(self) -> None:
        self._kinds: Counter[str] = Counter()
        self._lines: dict[str, list[str]] = {}
        self._last: dict[str, str] = {}
        self._known: dict[str, set[str]] = {}  # messages, with the names of their data sets

    def __len__(self) -> int:
        return self._kinds.total()

    def add(self, error: BaseException) -> None:
        """Add an error, unless the same error is known, with or without the name of its data set."""
        line = _one_line(str(error))
        where = match[0][:-2] if (match := _WHERE.match(line)) else ""
        of = self._known.setdefault(line[match.end() :] if match else line, set())
        if of and (where in of or "" in of or not where):
            return
        of.add(where)
        kind = _ROW.sub("row", line).split(" got ")[0][:80]
        if kind not in self._kinds and len(self._kinds) == _LISTED // _OF_A_KIND:
            kind = "others"
        self._kinds[kind] += 1
        here = self._lines.setdefault(kind, [])
        if len(here) < _OF_A_KIND:
            here.append(line)
        else:
            self._last[kind] = line

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Context that ends at an error about the data and adds it."""
        try:
            yield
        except FAULTS as error:
            self.add(error)

    def lines(self) -> list[str]:
        """Return one line for each error, and a summary line for a kind with many errors."""
        lines: list[str] = []
        for kind, here in self._lines.items():
            lines += here
            if kind in self._last:
                lines.append(f"... and {self._kinds[kind] - len(here)} more like it: {self._last[kind]}")
        return lines


def _one_line(text: str) -> str:
    """Return a text as one line, with separators in place of line breaks."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return " ".join([*(line if line[-1] in ".,:;?!" else f"{line}." for line in lines[:-1]), *lines[-1:]])
