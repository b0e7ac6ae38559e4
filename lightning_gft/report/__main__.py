"""Runs side by side: ``python -m lightning_gft.report base=runs/base gft=runs/gft`` prints a table and saves a plot.

Reads the ``metrics.csv`` that the command line logs. A run is a folder that was given as
``--trainer.default_root_dir``; its newest training run counts.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from lightning_gft.report.plot import save_plot
from lightning_gft.report.runs import Run, figures
from lightning_gft.report.table import print_table


def main(args: Sequence[str] | None = None) -> None:
    """Print a table of runs and save a plot of their curves.

    Args:
        args: Command-line arguments; by default those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m lightning_gft.report", description="Compare runs.")
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


if __name__ == "__main__":
    main()
