"""Collects the errors about the data, and lists those of each kind briefly."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

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
        self._kinds: dict[str, list[_Problem]] = {}
        self._of_any_row: dict[str, _Problem] = {}  # those of one row, by their message without it
        self._known: dict[str, set[str]] = {}  # messages, with the names of their data sets
        self._heads: dict[tuple[Any, ...], tuple[str, list[Any]]] = {}  # keeps raisers, whose ids are compared

    def __len__(self) -> int:
        return _rows(problem for problems in self._kinds.values() for problem in problems)

    def add(self, error: BaseException) -> None:
        """Add an error, unless the same error is known, with or without the name of its data set."""
        line = self._named(error)
        where = match[0][:-2] if (match := _WHERE.match(line)) else ""
        rest = line[match.end() :] if match else line
        of = self._known.setdefault(rest, set())
        if of and (where in of or "" in of or not where):
            return
        of.add(where)
        of_any_row, rows = _ROW.sub("row", rest), _ROW.findall(rest)
        problem = _Problem(line)
        # A message about several rows would be merged with those that share only the first of them.
        same = self._of_any_row.setdefault(of_any_row, problem) if len(rows) == 1 else problem
        if same is not problem:
            same.others.setdefault(where, []).append(rows[0])
            return
        kind = _ROW.sub("row", line).split(" got ")[0][:80]
        if kind not in self._kinds and len(self._kinds) >= _LISTED // _OF_A_KIND:
            kind = "others"
        self._kinds.setdefault(kind, []).append(problem)

    def _named(self, error: BaseException) -> str:
        """Return the message of an error with the setting that it is about.

        Finding the setting takes long, and each row may have an error. Errors that begin alike and were raised by the
        same objects are about the same setting, so it is found once for them.
        """
        head, got, tail = _one_line(str(error)).partition(" got ")
        if len(_ROW.findall(head)) != 1:
            return _one_line(str(with_setting(error)))
        row = _ROW.search(head)
        raisers = [*_raisers(error)]
        key = (_ROW.sub("row", head), *map(id, raisers))
        if key not in self._heads:
            named = _one_line(str(with_setting(error)))
            if not named.endswith(got + tail) or len(_ROW.findall(named)) != 1:
                return named
            self._heads[key] = named.removesuffix(got + tail), raisers
        return _ROW.sub(lambda _: row[0] if row else "", self._heads[key][0]) + got + tail

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
        for problems in self._kinds.values():
            listed, further = problems[:_OF_A_KIND], problems[_OF_A_KIND:]
            lines += [f"{problem.line}{_same_in(problem.others)}" for problem in listed]
            if further:
                lines.append(f"... and {_rows(further)} more like it: {further[-1].line}")
        return lines


@dataclass(slots=True)
class _Problem:
    """An error.

    Attributes:
        line: Its message.
        others: Further rows that have it, by data set.
    """

    line: str
    others: dict[str, list[str]] = field(default_factory=dict)


def _raisers(error: BaseException) -> Iterator[Any]:
    """Yield what tells the setting of an error: the objects and the functions that were running, also of its causes."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        yield frame.f_code
        yield frame.f_locals.get("self")
    if error.__cause__ is not None:
        yield from _raisers(error.__cause__)


def _rows(problems: Iterable[_Problem]) -> int:
    """Return how often errors occur: once, and in each further row."""
    return sum(1 + sum(map(len, problem.others.values())) for problem in problems)


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
