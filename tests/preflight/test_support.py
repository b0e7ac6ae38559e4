"""The tables of docs/embedding.md name all callbacks and Trainer options of Lightning, and say what is refused."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

from lightning.pytorch import Trainer, callbacks

from lightning_gft.preflight.callbacks import _REFUSED
from tests.cli.command import ROOT

PAGE = (ROOT / "docs/embedding.md").read_text()


def table(heading: str) -> Iterator[tuple[str, str]]:
    """Yield the names of a section's table, each with the text beside it."""
    section = PAGE.split(f"### {heading}\n")[1].split("\n### ")[0]
    for names, support in re.findall(r"^\| (`.*?) \| (.*) \|$", section, re.MULTILINE):
        yield from ((name, support) for name in re.findall(r"`(\w+)`", names))


def test_every_callback_of_lightning_is_listed_and_refused_or_not():
    listed = dict(table("Callbacks"))
    assert listed.keys() == set(callbacks.__all__)
    kinds = {name: getattr(callbacks, name) for name in listed}
    refused = {name for name, kind in kinds.items() if issubclass(kind, tuple(_REFUSED))}
    assert {name for name, support in listed.items() if support.startswith("refused")} == refused


def test_every_option_of_the_trainer_is_listed():
    listed = [name for name, _ in table("Trainer options")]
    assert sorted(listed) == sorted(inspect.signature(Trainer).parameters)
