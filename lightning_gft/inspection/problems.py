"""Collects the errors about the data, and lists those of each kind briefly."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from lightning_gft.errors import GFTError, with_setting

_OF_A_KIND = 10
_LISTED = 200
_ROWS = 3
_WHERE = re.compile(r"(?:train|val|test)(?:/[^:,\s]+)? data[:,] ")
_ROW = re.compile(r"row (.*?) \(counting from 0\)")
FAULTS = (GFTError, ValueError, TypeError, OSError)
"""Errors about the data. Any other error is a mistake in the code and keeps its traceback."""


class Problems:
    """Collects errors; it lists an error of several rows once, and the first few of those that say almost the same.

    Example:
        >>> problems = Problems()
        >>> for row in range(12):
        ...     problems.add(ValueError(f"row {row} (counting from 0): expected a text, got {row}"))
        >>> len(problems), problems.lines()[-1]
        (12, '... and 2 more like it: row 11 (counting from 0): expected a text, got 11')
        >>> problems = Problems()
        >>> for row in range(12):
        ...     problems.add(ValueError(f"row {row} (counting from 0): there is no reference"))
        >>> problems.lines()
        ['row 0 (counting from 0): there is no reference (the same in 11 other rows: 1, 2, 3, ...)']
    """

    def __init__(self) -> None:
        self._kinds: Counter[str] = Counter()
        self._lines: dict[str, list[tuple[str, str]]] = {}  # the line of each kind's first errors, and without its row
        self._others: dict[str, dict[str, list[str]]] = {}  # further rows of an error, by data set
        self._last: dict[str, str] = {}
        self._known: dict[str, set[str]] = {}  # messages, with the names of their data sets

    def __len__(self) -> int:
        return self._kinds.total() + sum(len(rows) for sets in self._others.values() for rows in sets.values())

    def add(self, error: BaseException) -> None:
        """Add an error, unless the same error is known, with or without the name of its data set."""
        line = _one_line(str(with_setting(error)))
        where = match[0][:-2] if (match := _WHERE.match(line)) else ""
        rest = line[match.end() :] if match else line
        of = self._known.setdefault(rest, set())
        if of and (where in of or "" in of or not where):
            return
        of.add(where)
        of_any_row, row = _ROW.sub("row", rest), _ROW.search(rest)
        if row and of_any_row in self._others:
            self._others[of_any_row].setdefault(where, []).append(row[1])
            return
        self._others[of_any_row] = {}
        kind = _ROW.sub("row", line).split(" got ")[0][:80]
        if kind not in self._kinds and len(self._kinds) == _LISTED // _OF_A_KIND:
            kind = "others"
        self._kinds[kind] += 1
        here = self._lines.setdefault(kind, [])
        if len(here) < _OF_A_KIND:
            here.append((line, of_any_row))
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
            lines += [f"{line}{_same_in(self._others[text])}" for line, text in here]
            if kind in self._last:
                lines.append(f"... and {self._kinds[kind] - len(here)} more like it: {self._last[kind]}")
        return lines


def _same_in(rows: Mapping[str, Sequence[str]]) -> str:
    """Return the end of an error that further rows of data sets have, too."""
    parts = [
        f"{len(numbers)} other {'rows' if len(numbers) > 1 else 'row'}{where and f' of {where}'}: "
        + ", ".join([*numbers[:_ROWS], *(["..."] if len(numbers) > _ROWS else [])])
        for where, numbers in rows.items()
    ]
    return f" (the same in {'; '.join(parts)})" if parts else ""


def _one_line(text: str) -> str:
    """Return a text as one line, with separators in place of line breaks."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return " ".join([*(line if line[-1] in ".,:;?!" else f"{line}." for line in lines[:-1]), *lines[-1:]])
