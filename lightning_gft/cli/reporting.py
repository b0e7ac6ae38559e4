"""Lists ``lightning-gft report`` among the subcommands; it runs before the imports that the others need."""

from __future__ import annotations

import argparse

from jsonargparse import ArgumentParser, Namespace

from lightning_gft.errors import GFTValueError
from lightning_gft.report.command import DESCRIPTION, describe

NAME = "report"


def list_report(parser: ArgumentParser, own: ArgumentParser) -> None:
    """List the command in the help of ``parser``; ``own`` describes its arguments."""
    describe(own)
    [subcommands] = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    subcommands.add_subcommand(NAME, own, help=DESCRIPTION)  # type: ignore[attr-defined]  # jsonargparse's own kind


def check_not_report(config: Namespace) -> None:
    """Raise an error if the command is not the first argument, so that options of a run precede it."""
    if config["subcommand"] == NAME:
        raise GFTValueError(
            f"`{NAME}`: expected as the first argument, got others before it; run lightning-gft {NAME} RUN"
        )
