"""Runs the command line, from its arguments to the end of the process."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from lightning_gft.cli.arguments import check_arguments
from lightning_gft.cli.command import GFTCLI
from lightning_gft.cli.errors import one_line_errors, one_line_warnings
from lightning_gft.cli.leaving import quiet_ends
from lightning_gft.cli.light import program_of
from lightning_gft.cli.parsing import import_parts
from lightning_gft.cli.processes import end_with_launcher, failing_alone
from lightning_gft.cli.reporting import number_of_ranks

import_parts()  # here, where Ctrl-C ends the process at once: libraries may catch it while they are imported


def run(args: list[str] | None = None) -> None:
    """Run the command line; every error ends the program."""
    given = sys.argv[1:] if args is None else args
    end_with_launcher()
    with failing_alone(), quiet_ends(), one_line_warnings(), one_line_errors(program_of(given)):
        if number_of_ranks() > 1:  # otherwise they are checked already
            check_arguments(given)
        _let_import_from_here()
        command = GFTCLI(args)
        command.trainer.strategy.barrier()  # a run succeeds only if all of its ranks do
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()  # otherwise its threads may abort the exiting process


def _let_import_from_here() -> None:
    """Let configurations name the user's own modules in the current folder.

    The folder comes last, so that no file in it replaces an installed module; ``python -m`` has put it first. Python's
    ``-P`` and ``PYTHONSAFEPATH`` keep it out.
    """
    here = str(Path.cwd())
    if not sys.flags.safe_path and here not in sys.path:
        sys.path.append(here)
