"""Runs side by side: ``python -m lightning_gft.compare base=runs/base gft=runs/gft`` prints a table and saves a plot.

Reads the ``metrics.csv`` that the command line logs. A run is a folder that was given as
``--trainer.default_root_dir``; its newest training run counts.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

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
        """Read the newest log of a training run below ``folder``, or the newest of any run if nothing was trained.

        Raises:
            FileNotFoundError: If there is none.
        """
        logs = {path: _read_log(path) for path in sorted(folder.glob("**/metrics.csv"), key=_age)}
        # A validation after it must not stand for the training run.
        trained = [path for path, rows in logs.items() if rows and any(key.startswith("train/") for key in rows[0])]
        if not logs:
            raise FileNotFoundError(
                f"no metrics.csv below {folder}; run lightning-gft with this default_root_dir first"
            )
        log = (trained or list(logs))[-1]
        return cls(name, log, logs[log])

    def series(self, key: str) -> Series:
        """Return the values that were logged under ``key``."""
        return [(int(row["step"]), float(row[key])) for row in self.rows if row.get(key)]


def _age(path: Path) -> float:
    return path.stat().st_mtime


def _read_log(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def figures(num_samples: int) -> list[Figure]:
    """Return what is compared.

    Args:
        num_samples: Samples a prompt in evaluation.
    """
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


def main(args: Sequence[str] | None = None) -> None:
    """Print a table of runs and save a plot of their curves.

    Args:
        args: Command-line arguments; by default those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m lightning_gft.compare", description="Compare runs.")
    parser.add_argument("runs", nargs="+", metavar="NAME=FOLDER", help="runs, first the one that the others began from")
    parser.add_argument("--output", type=Path, default=Path("comparison.png"), help="plot to save (%(default)s)")
    parser.add_argument("--num_samples", type=int, default=8, help="samples a prompt in evaluation (%(default)s)")
    given = parser.parse_args(args)
    runs = []
    for run in given.runs:
        name, separator, folder = run.partition("=")
        if not separator:
            parser.error(f"{run!r} is not NAME=FOLDER, such as gft=runs/quickstart/gft")
        try:
            runs.append(Run.read(name, Path(folder)))
        except FileNotFoundError as error:
            parser.error(str(error))
    print_table(runs, figures(given.num_samples))
    try:
        save_plot(runs, figures(given.num_samples)[:-1], given.output)
    except (OSError, ValueError) as error:  # the latter from matplotlib, for a kind of file that it does not know
        parser.error(f"--output={given.output} cannot be written: {error}")
    Console(soft_wrap=True).print(f"Curves: {given.output}", highlight=False)


def print_table(runs: list[Run], rows: list[Figure]) -> None:
    """Print one row a figure and one column a run: a narrow terminal holds them."""
    table = Table()
    table.add_column("")
    for run in runs:
        table.add_column(run.name, justify="right")
    for figure in rows:
        table.add_row(figure.title, *(figure.show(run) for run in runs))
    console = Console(soft_wrap=True)
    console.print(table)
    for run in runs:
        console.print(f"{run.name}: {run.log}", highlight=False)


def save_plot(runs: list[Run], panels: list[Figure], output: Path) -> None:
    """Save one panel a figure; the first run becomes a dashed line, from which the others' curves begin."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(2, (len(panels) + 1) // 2, figsize=(3.2 * len(panels) / 2, 5.4), layout="constrained")
    for axis, figure in zip(axes.flat, panels, strict=False):
        start = [(0, value) for _, value in runs[0].series(figure.key)[:1]]
        for number, run in enumerate(runs):
            if run is runs[0]:
                for _, value in start:
                    axis.axhline(value, color=f"C{number}", linestyle="--", label=run.name)
            elif series := start + run.series(figure.key):
                axis.plot(*zip(*series, strict=True), color=f"C{number}", label=run.name)
        axis.set_title(figure.title)
        axis.set_xlabel("step")
        if figure.key.startswith("train/rectified_weight"):
            axis.set_yscale("log")
        axis.grid(alpha=0.3)
    handles = {
        label: handle for axis in axes.flat for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    fig.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(runs))
    output.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(output, dpi=120)
    plt.close(fig)


if __name__ == "__main__":
    main()
