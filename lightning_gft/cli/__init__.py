"""The command line: ``lightning-gft fit | validate | test | predict | export | inspect | rescore | report``."""

import sys
from typing import TYPE_CHECKING, Any

from lightning_gft.cli.leaving import quiet_ends

if TYPE_CHECKING:
    from lightning_gft.cli.command import GFTCLI

__all__ = ["GFTCLI", "main"]


def main(args: list[str] | None = None) -> None:
    """Run the command line; errors end the process.

    Args:
        args: Command-line arguments, without the program's name; by default those of the process.
    """
    given = sys.argv[1:] if args is None else args
    with quiet_ends():
        if given[:1] == ["report"]:  # needs no model, so skip the imports that one takes
            from lightning_gft.report.command import main as report

            report(given[1:])
            return
        from lightning_gft.cli.running import run  # takes seconds, during which Ctrl-C may come

        run(args)


def __getattr__(name: str) -> Any:
    if name != "GFTCLI":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lightning_gft.cli.command import GFTCLI

    return GFTCLI
