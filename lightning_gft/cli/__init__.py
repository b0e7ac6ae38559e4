"""The command line: ``lightning-gft fit | validate | test | predict``."""

import torch

from lightning_gft.cli.command import GFTCLI
from lightning_gft.cli.errors import one_line_errors
from lightning_gft.cli.processes import end_with_launcher, failing_alone

__all__ = ["GFTCLI", "main"]


def main(args: list[str] | None = None) -> None:
    """Run the command line.

    Args:
        args: Command-line arguments; by default those of the process.
    """
    end_with_launcher()
    with failing_alone(), one_line_errors():
        command = GFTCLI(args)
        command.trainer.strategy.barrier()  # a run has succeeded when all of its processes have
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()  # its threads may abort a process that just ends
