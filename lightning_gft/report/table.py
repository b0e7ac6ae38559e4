"""Prints the figures of runs as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightning_gft.report.figures import Figure
from lightning_gft.report.runs import Run


def print_table(runs: Sequence[Run], rows: Sequence[Figure]) -> None:
    """Print one row per figure and one column per run, which fits into a narrow terminal."""
    table = Table()
    table.add_column("")
    for run in runs:
        table.add_column(Text(run.name), justify="right")
    for figure in rows:
        table.add_row(Text(figure.title), *(figure.show(run) for run in runs))
    console = Console(soft_wrap=True)
    console.print(table)
    for run in runs:
        console.print(Text(f"{run.name}: {run.log}"))
