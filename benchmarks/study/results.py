"""The Parquet file of a study: a row a run and evaluation."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout
from pyarrow import ArrowException

from benchmarks.study.plan import PlanError, Run

RESULTS = Path(__file__).parents[1] / "results" / "study.parquet"

_NAMES = ["run", "variant", "method", "learning_rate", "seed", "role"]
"""Columns that say what a plan calls a run."""

_NEEDED = ["run", "status", "split", "step"]
"""Columns that are there before the first run."""


@contextmanager
def written_by_one(path: Path) -> Iterator[None]:
    """Keep other studies from writing a file of results within this context, whose rows they would lose.

    Args:
        path: The Parquet file.

    Raises:
        PlanError: If another study writes it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_suffix(".lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise PlanError(
            f"`--results`: expected a file of this study alone, got {path}, which another one writes; "
            "wait for it, or name another file"
        ) from None
    try:
        yield
    finally:
        lock.release()


class Results:
    """Rows of all runs that have ended, kept on disk after each run.

    Args:
        path: Parquet file; made with the first run.

    Raises:
        PlanError: If there is a file that is not one of a study.
    """

    def __init__(self, path: Path = RESULTS) -> None:
        self.path = path
        self.rows = _read(path) if path.exists() else pd.DataFrame(columns=_NEEDED)

    def __contains__(self, run: Run) -> bool:
        return bool((self.rows["run"] == run.fingerprint).any())

    def add(self, run: Run, evaluations: Iterable[Mapping[str, Any]], status: str, error: str) -> None:
        """Keep a run that has ended; one without an evaluation has a row, too.

        Args:
            run: The run.
            evaluations: Its rows.
            status: ``"finished"`` or ``"failed"``.
            error: Why it failed.
        """
        from benchmarks.harness import provenance  # imports torch, which those who read do not wait for

        about = {
            **run.names,
            "plan": run.plan,
            "status": status,
            "error": error,
            "settings": json.dumps(run.layers),
            **{name: value if isinstance(value, str) else json.dumps(value) for name, value in provenance().items()},
        }
        added = pd.DataFrame([{**about, **row} for row in (*evaluations,) or ({"split": "val", "step": 0},)])
        self.rows = added if self.rows.empty else pd.concat([self.rows, added], ignore_index=True)
        self._write()

    def of(self, runs: Iterable[Run]) -> pd.DataFrame:
        """Return the rows of runs under the names that these have now; runs that have not ended are left out."""
        called = {(run.fingerprint, run.variant, run.method): run.names for run in runs}
        names = pd.DataFrame(called.values(), columns=_NAMES)
        figures = self.rows.drop(columns=[*_NAMES[1:], "plan"], errors="ignore")
        return names.merge(figures, on="run", how="inner")

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".writing")
        self.rows.to_parquet(beside, index=False)
        os.replace(beside, self.path)  # noqa: PTH105 (one step, whatever happens)


def _read(path: Path) -> pd.DataFrame:
    try:
        rows = pd.read_parquet(path)
    except (ArrowException, OSError) as error:
        raise PlanError(f"`--results`: expected a Parquet file, got {path} ({error}); name another") from None
    if missing := [name for name in _NEEDED if name not in rows]:
        raise PlanError(f"`--results`: expected rows of a study, got {path} without {missing}; name another")
    return rows
