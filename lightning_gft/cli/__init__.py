"""The command line: ``lightning-gft fit | validate | test | predict``."""

import torch

from lightning_gft.cli.command import GFTCLI
from lightning_gft.cli.errors import one_line_errors

__all__ = ["GFTCLI", "main"]


def main(args: list[str] | None = None) -> None:
    """Run the command line.

    Args:
        args: Command-line arguments; by default those of the process.
    """
    with one_line_errors():
        GFTCLI(args)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()  # its threads may abort a process that just ends
