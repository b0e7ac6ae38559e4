"""Runs the command line, from its arguments to the end of the process."""

from __future__ import annotations

import torch

from lightning_gft.cli.command import GFTCLI
from lightning_gft.cli.errors import one_line_errors
from lightning_gft.cli.leaving import quiet_ends
from lightning_gft.cli.processes import end_with_launcher, failing_alone


def run(args: list[str] | None = None) -> None:
    """Run the command line; every error ends the program."""
    end_with_launcher()
    with failing_alone(), quiet_ends(), one_line_errors():
        command = GFTCLI(args)
        command.trainer.strategy.barrier()  # a run succeeds only if all of its ranks do
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()  # otherwise its threads may abort the exiting process
