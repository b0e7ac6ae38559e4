"""``lightning-gft report``: compares runs in a table, a plot and a page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from lightning_gft.errors import GFTUsageError, GFTValueError
from lightning_gft.report.figures import plot_panels, table_rows
from lightning_gft.report.page import build_page
from lightning_gft.report.plot import save_plot
from lightning_gft.report.runs import Run, read_runs
from lightning_gft.report.table import print_table
from lightning_gft.report.text import visible

_PAGE = (".html", ".htm")


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to a parser."""
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="folder of a run (its trainer.default_root_dir), or NAME=FOLDER; the others are compared with the first",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("report.html"),
        metavar="FILE",
        help="page to write; the plot goes beside it, as .png (default: %(default)s)",
    )


def run(options: argparse.Namespace) -> None:
    """Print a table of runs, and write their plot and their page."""
    if options.output.suffix.lower() not in _PAGE:
        raise GFTUsageError(
            f"`--output`: expected a file that ends in .html, got {str(options.output)!r}; choose a name such as "
            "report.html"
        )
    runs = read_runs(options.runs)
    print_table(runs, table_rows(runs))
    _write(runs, options.output)


def _write(runs: Sequence[Run], page: Path) -> None:
    plot = page.with_suffix(".png")
    console = Console(soft_wrap=True)
    try:
        save_plot(runs, plot_panels(runs), plot)
        console.print(Text(f"Plot: {plot}"))
        page.write_text(build_page(runs), encoding="utf-8")
        console.print(Text(f"Page: {page}"))
        for fault in (fault for run in runs for fault in run.faults.by_kind.values()):
            sys.stderr.write(f"warning: {visible(fault.path)}: {visible(fault)}\n")
    except OSError as error:
        raise GFTValueError(
            f"`--output`: expected a file that can be written, got {str(page)!r} ({error.strerror}); name another"
        ) from error
