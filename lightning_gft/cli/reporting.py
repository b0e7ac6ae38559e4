"""``lightning-gft report`` in the list of subcommands; it runs before what the others need is imported."""

from __future__ import annotations

import argparse

from jsonargparse import ArgumentParser, Namespace

from lightning_gft.errors import GFTValueError
from lightning_gft.report.command import DESCRIPTION, describe

NAME = "report"


def list_report(parser: ArgumentParser, own: ArgumentParser) -> None:
    """List the command in the help of ``parser``, with ``own`` for its arguments."""
    describe(own)
    [subcommands] = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    subcommands.add_subcommand(NAME, own, help=DESCRIPTION)  # type: ignore[attr-defined]  # jsonargparse's own kind


def check_not_report(config: Namespace) -> None:
    """Raise if the command is not the first argument, and so came with options of a run."""
    if config["subcommand"] == NAME:
        raise GFTValueError(
            f"`{NAME}`: expected as the first argument, got others before it; do lightning-gft {NAME} RUN"
        )
