"""How it is printed what another verifier changes."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightning_gft.checks import cut, shorten
from lightning_gft.cli.texts import short
from lightning_gft.rescoring import Changes
from lightning_gft.rescoring.changes import TOTAL, RewardChange

_LONG = 600
"""Characters of a text that are shown, its beginning and its end."""


def print_changes(changes: Changes, show: int) -> None:
    """Print what has changed, and the first ``show`` responses that are worth something else now."""
    console = Console(file=sys.stdout, soft_wrap=True)
    console.print(_table(changes))
    before, now = changes.differing
    told = (
        f"{changes.changed} of {changes.responses} responses in {changes.groups} groups have another total. Groups "
        f"whose rewards differ: {before} before, {now} now ({changes.differ_now} that did not before, "
        f"{changes.equal_now} that did)"
    )
    console.print(Text(told))
    for example in changes.examples[:show]:
        rewards = f"{_listed(example.before)} -> {_listed(example.now)}"
        row = "a row" if example.row is None else f"row {example.row}"
        console.print(
            Text(f"{row}: {rewards}; prompt {shorten(example.prompt)}; reference {shorten(example.reference)}")
        )
        console.print(Text("\n".join(f"    {line}" for line in cut(example.text, _LONG).split("\n"))))


def _table(changes: Changes) -> Table:
    table = Table(
        "reward", "mean before", "mean now", "up", "down", "same", "began or ceased to apply", title="Scored anew"
    )
    for name, change in changes.rewards.items():
        counts = (change.up, change.down, change.same, change.other)
        shown = f"{name} (total)" if name == TOTAL else name
        table.add_row(shown, _mean(change, 0), _mean(change, 1), *map(str, counts))
    for name, change in changes.only_before.items():
        table.add_row(name, _mean(change, 0), "gone", "", "", "", "")
    for name, change in changes.only_now.items():
        table.add_row(name, "new", _mean(change, 1), "", "", "", "")
    return table


def _mean(change: RewardChange, when: int) -> str:
    mean = change.mean(when)
    return "-" if mean is None else short(mean)


def _listed(rewards: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name} {'-' if score is None else short(score)}" for name, score in rewards.items())
