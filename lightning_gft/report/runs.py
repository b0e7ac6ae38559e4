"""Reads a run from its logs."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from lightning_gft import record
from lightning_gft.errors import GFTUsageError, GFTValueError
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
    """The files of one start of a run.

    Args:
        folder: Folder of the log and the record.
        until: First step that a later start has trained again; the rows from it on are ignored.
    """

    folder: Path
    until: float = math.inf


@dataclass(frozen=True)
class Run:
    """A run, finished or not.

    Args:
        name: Name to show.
        parts: The run's starts, in their order; more than one if the run was resumed.
        figures: All logged figures, as values by step.
        faults: Faults of the files beside the logs; updated as these are read.
    """

    name: str
    parts: tuple[Part, ...]
    figures: dict[str, Series]
    faults: Faults = field(default_factory=Faults, compare=False)

    @classmethod
    def read(cls, name: str, folder: Path) -> Run:
        """Read the newest version that was trained, or the newest of any kind if none was.

        Raises:
            ValueError: If there is no log, a log cannot be read, or the folder holds logs of several runs.
        """
        if not os.path.isdir(folder):  # noqa: PTH112 (false for names that no file can have)
            raise GFTUsageError(f"`RUN`: expected a folder, got {str(folder)!r}; give a run's trainer.default_root_dir")
        paths = list(folder.glob(f"**/{_LOG}"))
        roots = sorted({_root(path) for path in paths})
        if len(roots) > 1:
            raise GFTUsageError(
                f"`RUN`: expected one run in {str(folder)!r}, got {len(roots)}; give each by itself: "
                f"{', '.join(str(root) for root in roots[:_MOST_NAMED])}{' ...' if roots[_MOST_NAMED:] else ''}"
            )
        logs = [(path, read_log(path)) for path in sorted(paths, key=_age)]
        if not logs:
            raise GFTUsageError(
                f"`RUN`: expected a folder with {_LOG} in it or below, got {str(folder)!r}; give the "
                "trainer.default_root_dir of a run that has begun"
            )
        faults = Faults()
        trained = [(path, log) for path, log in logs if log.train_steps]
        starts = [logs[-1]] if not trained else [trained[-1]]  # a later validation does not replace a training run
        for path, log in reversed(trained[:-1]):
            if _resumed(starts[0][0].parent, faults) is not False and starts[0][1].continues(log):
                starts.insert(0, (path, log))
        untils = [log.train_steps[0] for _, log in starts[1:]]
        parts = [Part(path.parent, until) for (path, _), until in zip(starts, [*untils, math.inf], strict=True)]
        return cls(name, tuple(parts), in_order([log for _, log in starts]), faults)

    @property
    def log(self) -> Path:
        """The newest log."""
        return self.parts[-1].folder / _LOG

    def series(self, key: str) -> Series:
        """Return the values logged under ``key``."""
        return self.figures.get(key, [])

    def rows(self, name: str, parse: Callable[[Mapping[str, Any]], Row]) -> list[Row]:
        """Return the rows of a file of the record, except damaged ones and those of steps that were trained again.

        Args:
            name: Name of the file.
            parse: Converts a row to known types, or raises a ``ValueError`` with the reason why it cannot.
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
        """Redacted settings and device of the run; empty for a run without a record."""
        return read_description(self.parts[-1].folder, self.faults)

    @cached_property
    def config(self) -> dict[str, Any]:
        """Redacted configuration of the run; empty if none was saved."""
        return read_config(self.parts[-1].folder, self.faults)

    @cached_property
    def trained(self) -> bool:
        """Whether the run was trained, not only evaluated."""
        return is_training(self.figures)

    @cached_property
    def last_step(self) -> int:
        """The last logged step; 0 if there is none."""
        return max((series[-1][0] for series in self.figures.values()), default=0)

    @cached_property
    def datasets(self) -> list[str]:
        """Data sets of evaluations other than the main one."""
        keys = (key.split("/") for key in self.figures)
        return [key[1] for key in keys if len(key) == 3 and (key[0], key[2]) == ("val", "greedy_accuracy")]


def read_runs(given: Sequence[str]) -> list[Run]:
    """Read runs from arguments of the form ``FOLDER`` or ``NAME=FOLDER``.

    Raises:
        ValueError: If a run cannot be read, or two runs have the same name.
    """
    runs: list[Run] = []
    for argument in given:
        name, folder = _split(argument)
        if any(run.name == name for run in runs):
            raise GFTUsageError(
                f"`RUN`: expected a name of its own for each, got {name!r} twice; name one by NAME=FOLDER"
            )
        runs.append(Run.read(name, folder))
    return runs


def _resumed(folder: Path, faults: Faults) -> bool | None:
    """Return whether a run resumed from a checkpoint, or ``None`` if its record does not say."""
    starts = read_description(folder, faults).starts
    return starts[0] > 0 if starts else None


def _split(argument: str) -> tuple[str, Path]:
    """Return the name of a run, made visible, and its folder."""
    name, equals, folder = argument.partition("=")
    named = bool(equals) and not os.path.exists(argument)  # a folder's name may hold "="  # noqa: PTH110 (of any text)
    if not (folder and name.strip() if named else argument):
        raise GFTUsageError(
            f"`RUN`: expected FOLDER or NAME=FOLDER, got {visible(argument, _LONGEST_NAME)!r}; give both"
        )
    path = Path(folder if named else argument)
    return visible(name if named else _name(path), _LONGEST_NAME), path


def _name(folder: Path) -> str:
    """Return a run's name: that of its folder, or of the folder that holds the logger's."""
    return _outer(Path(os.path.abspath(folder))).name  # noqa: PTH100 (of any text, and a link keeps its name)


def _root(log: Path) -> Path:
    """Return the folder that holds the logger's folder; all logs of a run are below the same one."""
    return _outer(log.parent)


def _outer(folder: Path) -> Path:
    while folder.name.startswith(_VERSION) or folder.name == "lightning_logs":
        folder = folder.parent
    return folder


def _age(path: Path) -> tuple[bool, int, float]:
    """Return a key that orders logs by age: version numbers, which a copy keeps, before modification times."""
    number = path.parent.name.removeprefix(_VERSION)
    return (True, int(number), 0.0) if number.isdecimal() else (False, 0, path.stat().st_mtime)
