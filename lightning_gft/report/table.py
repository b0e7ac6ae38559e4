"""Runs side by side, in numbers."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from lightning_gft.report.runs import Figure, Run


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
