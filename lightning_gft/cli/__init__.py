"""The command line: ``lightning-gft fit | validate | test | predict``."""

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
