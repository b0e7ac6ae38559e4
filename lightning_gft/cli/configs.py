"""``lightning-gft configs``: lists and copies the configurations that come with the package."""

from __future__ import annotations

import argparse
from pathlib import Path

from lightning_gft.cli.shipped import FOLDER, copy, description, shipped
from lightning_gft.errors import GFTUsageError, GFTValueError


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to a parser."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions")
    actions.add_parser("list", help="list their names and purposes (default)")
    copying = actions.add_parser("copy", help="copy some or all of them, so that they can be used and edited")
    copying.add_argument("names", nargs="*", metavar="NAME", help="a configuration, such as configs/overlays/grpo.yaml")
    copying.add_argument("--all", action="store_true", help="copy all of them")
    copying.add_argument(
        "--to",
        type=Path,
        default=Path(FOLDER),
        metavar="FOLDER",
        help="folder to copy to (default: %(default)s); other files in it are never overwritten",
    )


def run(options: argparse.Namespace) -> None:
    """List or copy configurations."""
    if options.action != "copy":
        for name, path in shipped().items():
            print(f"{name}\n    {description(path)}")
        return
    if options.all == bool(options.names):
        raise GFTUsageError("`NAME`: expected names, or --all and no name; lightning-gft configs lists the names")
    try:
        for target in copy(shipped() if options.all else options.names, options.to):
            print(target)
    except OSError as error:
        raise GFTValueError(
            f"`--to`: expected a folder that can be written to, got {str(options.to)!r} ({error.strerror}); choose "
            "another"
        ) from error
