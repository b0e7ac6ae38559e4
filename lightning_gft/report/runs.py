"""A run, read from its logs."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from lightning_gft import record
from lightning_gft.errors import GFTValueError
from lightning_gft.report.description import Description, read_description
from lightning_gft.report.logs import Series, in_order, is_training, read_log
from lightning_gft.report.setup import read_config
from lightning_gft.report.side_files import Faults
from lightning_gft.report.text import visible

Row = TypeVar("Row")

_LOG = "metrics.csv"
_VERSION = "version_"
_MOST_NAMED = 5
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Part:
    """What one start of a run has left behind.

    Args:
        folder: Where its log and its record are.
        until: First step that a later start has trained anew, so that nothing here counts from there on.
    """

    folder: Path
    until: float = math.inf


@dataclass(frozen=True)
class Run:
    """A run, finished or not.

    Args:
        name: What to call it.
        parts: Its starts, in their order; more than one where it was resumed.
        figures: Values by step of everything that it has logged.
        faults: What was found damaged beside its logs, so far as it was read.
    """

    name: str
    parts: tuple[Part, ...]
    figures: dict[str, Series]
    faults: Faults = field(default_factory=Faults, compare=False)

    @classmethod
    def read(cls, name: str, folder: Path) -> Run:
        """Read the newest version of a run that was trained, or the newest of any kind if nothing was trained.

        Raises:
            ValueError: If there is no log, one that cannot be read, or those of several runs.
        """
        if not os.path.isdir(folder):  # noqa: PTH112 (false for names that no file can have)
            raise GFTValueError(f"`RUN`: expected a folder, got {str(folder)!r}; give a run's trainer.default_root_dir")
        paths = list(folder.glob(f"**/{_LOG}"))
        roots = sorted({_root(path) for path in paths})
        if len(roots) > 1:
            raise GFTValueError(
                f"`RUN`: expected one run in {str(folder)!r}, got {len(roots)}; give each by itself: "
                f"{', '.join(str(root) for root in roots[:_MOST_NAMED])}{' ...' if roots[_MOST_NAMED:] else ''}"
            )
        logs = [(path, read_log(path)) for path in sorted(paths, key=_age)]
        if not logs:
            raise GFTValueError(
                f"`RUN`: expected a folder with {_LOG} in it or below, got {str(folder)!r}; give the "
                "trainer.default_root_dir of a run that has begun"
            )
        faults = Faults()
        trained = [(path, log) for path, log in logs if log.train_steps]
        starts = [logs[-1]] if not trained else [trained[-1]]  # a validation after it does not take its place
        for path, log in reversed(trained[:-1]):
            if _resumed(starts[0][0].parent, faults) is not False and starts[0][1].continues(log):
                starts.insert(0, (path, log))
        untils = [log.train_steps[0] for _, log in starts[1:]]
        parts = [Part(path.parent, until) for (path, _), until in zip(starts, [*untils, math.inf], strict=True)]
        return cls(name, tuple(parts), in_order([log for _, log in starts]), faults)

    @property
    def log(self) -> Path:
        """The newest of its logs."""
        return self.parts[-1].folder / _LOG

    def series(self, key: str) -> Series:
        """Return the values that were logged under ``key``."""
        return self.figures.get(key, [])

    def rows(self, name: str, parse: Callable[[Mapping[str, Any]], Row]) -> list[Row]:
        """Return the rows of a file of its record, but for damaged ones and those of steps that were trained anew.

        Args:
            name: Of the file.
            parse: Makes a row of known types, or raises a ``ValueError`` that says why it cannot.
        """
        rows = []
        for part in self.parts:
            try:
                found, fault = record.read_rows(part.folder / name)
            except OSError as error:
                found, fault = [], f"expected a file, got {error.strerror}"
            if fault is not None:
                self.faults.note(part.folder, name, fault)
            for row in found:
                try:
                    if row["step"] < part.until:
                        rows.append(parse(row))
                except GFTValueError as error:
                    self.faults.note(part.folder, name, str(error))
        return rows

    @cached_property
    def description(self) -> Description:
        """What it ran, and on what, as a page may show it; empty for a run without a record."""
        return read_description(self.parts[-1].folder, self.faults)

    @cached_property
    def config(self) -> dict[str, Any]:
        """Its configuration, as a page may show it; empty where none was kept."""
        return read_config(self.parts[-1].folder, self.faults)

    @cached_property
    def trained(self) -> bool:
        """Whether it was trained, not only measured."""
        return is_training(self.figures)

    @cached_property
    def last_step(self) -> int:
        """The last step that it has logged; 0 where it has none."""
        return max((series[-1][0] for series in self.figures.values()), default=0)

    @cached_property
    def datasets(self) -> list[str]:
        """Data sets that it was measured on beside the main one."""
        keys = (key.split("/") for key in self.figures)
        return [key[1] for key in keys if len(key) == 3 and (key[0], key[2]) == ("val", "greedy_accuracy")]


def read_runs(given: Sequence[str]) -> list[Run]:
    """Read runs that were given as ``FOLDER`` or ``NAME=FOLDER``.

    Raises:
        ValueError: If one cannot be read, or two have the same name.
    """
    runs: list[Run] = []
    for argument in given:
        name, folder = _split(argument)
        if any(run.name == name for run in runs):
            raise GFTValueError(
                f"`RUN`: expected a name of its own for each, got {name!r} twice; name one by NAME=FOLDER"
            )
        runs.append(Run.read(name, folder))
    return runs


def _resumed(folder: Path, faults: Faults) -> bool | None:
    """Return whether a run began at a checkpoint's step; ``None`` where it has no record of that."""
    starts = read_description(folder, faults).starts
    return starts[0] > 0 if starts else None


def _split(argument: str) -> tuple[str, Path]:
    """Return the name of a run, as it can be shown, and its folder."""
    name, equals, folder = argument.partition("=")
    named = bool(equals) and not os.path.exists(argument)  # a folder's own name may have one  # noqa: PTH110 (of any text)
    if not (folder and name.strip() if named else argument):
        raise GFTValueError(
            f"`RUN`: expected FOLDER or NAME=FOLDER, got {visible(argument, _LONGEST_NAME)!r}; give both"
        )
    path = Path(folder if named else argument)
    return visible(name if named else _name(path), _LONGEST_NAME), path


def _name(folder: Path) -> str:
    """Return a run's name: that of its folder, or of what the logger's folder is in."""
    return _outer(Path(os.path.abspath(folder))).name  # noqa: PTH100 (of any text, and a link keeps its name)


def _root(log: Path) -> Path:
    """Return what the logger's folder is in: all logs of a run are below the same one."""
    return _outer(log.parent)


def _outer(folder: Path) -> Path:
    while folder.name.startswith(_VERSION) or folder.name == "lightning_logs":
        folder = folder.parent
    return folder


def _age(path: Path) -> tuple[bool, int, float]:
    """Return what orders logs from the oldest on: numbers of versions, which a copy keeps, before times of files."""
    number = path.parent.name.removeprefix(_VERSION)
    return (True, int(number), 0.0) if number.isdecimal() else (False, 0, path.stat().st_mtime)
