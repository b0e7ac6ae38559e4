"""What was logged of a run, and what is compared."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

Series = list[tuple[int, float]]
"""Values of one figure by optimizer step."""


@dataclass(frozen=True)
class Figure:
    """One row of the table, one panel of the plot.

    Args:
        title: What to call it.
        key: Name in the log; the table shows its last value.
        largest: Show the largest value of the run instead.
        digits: Digits behind the point.
    """

    title: str
    key: str
    largest: bool = False
    digits: int = 2

    def show(self, run: Run) -> str:
        """Return the figure of ``run`` as text, or a dash where it was not logged."""
        values = [value for _, value in run.series(self.key)]
        if not values:
            return "-"
        return f"{max(values) if self.largest else values[-1]:,.{self.digits}f}"


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        name: What to call it.
        log: Where it was read from.
        rows: Rows of its log.
    """

    name: str
    log: Path
    rows: list[dict[str, str]]

    @classmethod
    def read(cls, name: str, folder: Path) -> Run:
        """Read the newest log of a training run below ``folder``, or the newest of any run if nothing was trained."""
        logs = {path: _read_log(path) for path in sorted(folder.glob("**/metrics.csv"), key=_age)}
        # A validation after it must not take the place of the training run.
        trained = [path for path, rows in logs.items() if rows and any(key.startswith("train/") for key in rows[0])]
        if not logs:
            raise FileNotFoundError(
                f"no metrics.csv below {folder}; run lightning-gft with this default_root_dir first"
            )
        log = (trained or list(logs))[-1]
        return cls(name, log, logs[log])

    @property
    def folder(self) -> Path:
        """Where the log is, and the run's record beside it."""
        return self.log.parent

    def series(self, key: str) -> Series:
        """Return the values that were logged under ``key``."""
        return [(int(row["step"]), float(row[key])) for row in self.rows if row.get(key)]


def _age(path: Path) -> float:
    return path.stat().st_mtime


def _read_log(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def figures(num_samples: int) -> list[Figure]:
    """Return what is compared."""
    return [
        Figure("greedy", "val/greedy_accuracy"),
        Figure(f"mean@{num_samples}", f"val/mean@{num_samples}"),
        Figure(f"pass@{num_samples}", f"val/pass@{num_samples}"),
        Figure("entropy", "val/entropy", digits=3),
        Figure("KL to base", "val/kl", digits=3),
        Figure("2nd skill", "val/second_skill/greedy_accuracy"),
        Figure("max weight C/p", "train/rectified_weight_max", largest=True, digits=1),
        Figure("max grad norm", "train/grad_norm", largest=True),
        Figure("tokens", "train/num_tokens", digits=0),
    ]
