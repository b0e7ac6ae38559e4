"""Prints what other rewards change."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightning_gft.checks import shorten
from lightning_gft.cli.texts import indented, reward_line, short_or_dash
from lightning_gft.rescoring import Changes
from lightning_gft.rescoring.changes import TOTAL


def print_changes(changes: Changes, show: int) -> None:
    """Print the changes of the scores, and the first ``show`` responses whose total has changed."""
    console = Console(file=sys.stdout, soft_wrap=True)
    console.print(_table(changes))
    before, now = changes.differing
    totals = (
        f"{changes.changed} of {changes.responses} responses in {changes.groups} groups have another total. Groups "
        f"whose rewards differ: {before} before, {now} now ({changes.differ_now} that did not before, "
        f"{changes.equal_now} that did)"
    )
    console.print(Text(totals))
    for example in changes.examples[:show]:
        rewards = f"{reward_line(example.before)} -> {reward_line(example.now)}"
        row = "a row" if example.row is None else f"row {example.row}"
        console.print(
            Text(f"{row}: {rewards}; prompt {shorten(example.prompt)}; reference {shorten(example.reference)}")
        )
        console.print(Text(indented(example.text)))


def _table(changes: Changes) -> Table:
    table = Table(
        "reward", "mean before", "mean now", "up", "down", "same", "began or ceased to apply", title="Scored anew"
    )
    for name, change in changes.rewards.items():
        counts = (change.up, change.down, change.same, change.other)
        shown = f"{name} (total)" if name == TOTAL else name
        table.add_row(shown, short_or_dash(change.mean(0)), short_or_dash(change.mean(1)), *map(str, counts))
    for name, change in changes.only_before.items():
        table.add_row(name, short_or_dash(change.mean(0)), "gone", "", "", "", "")
    for name, change in changes.only_now.items():
        table.add_row(name, "new", short_or_dash(change.mean(1)), "", "", "", "")
    return table
