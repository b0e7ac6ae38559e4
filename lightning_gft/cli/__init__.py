"""The command line: ``lightning-gft``, whose commands ``lightning-gft --help`` lists."""

import os
import sys
from typing import TYPE_CHECKING, Any

from lightning_gft.cli.leaving import ending_at_once, quiet_ends

if TYPE_CHECKING:
    from lightning_gft.cli.command import GFTCLI

__all__ = ["GFTCLI", "main"]


def main(args: list[str] | None = None) -> None:
    """Run the command line; errors end the process.

    Args:
        args: Command-line arguments, without the program's name; by default those of the process.
    """
    given = sys.argv[1:] if args is None else args
    # Read when torch is imported: threads that wait yield, since spinning ones halve the speed of a shared machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with quiet_ends():
        from lightning_gft.cli.light import is_light, program_of, run_light

        if is_light(given):
            run_light(given)
            return
        from lightning_gft.cli.arguments import check_arguments
        from lightning_gft.cli.documents import reading_once
        from lightning_gft.cli.reporting import number_of_ranks, one_line_mistakes

        with reading_once():
            if number_of_ranks() == 1:  # one of several says which one it is, for which it needs torch
                with one_line_mistakes(program_of(given)):
                    check_arguments(given)
            with ending_at_once():
                from lightning_gft.cli.running import run  # takes seconds, during which Ctrl-C may come

            run(args)


def __getattr__(name: str) -> Any:
    if name != "GFTCLI":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lightning_gft.cli.command import GFTCLI

    return GFTCLI
