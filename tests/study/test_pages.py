"""Pages have the figures of the results that are kept beside them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.study.markdown import fill
from benchmarks.study.outcome import read
from benchmarks.study.reading import read_plan
from benchmarks.study.results import Results
from benchmarks.study.tables import all_tables
from tests.cli.command import ROOT


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))], ids=lambda page: page.stem)
def test_marked_places_hold_what_the_command_makes(page: Path):
    text = page.read_text()
    asked: dict[str, set[str]] = {}
    for name, tables in re.findall(r"^<!-- study: ([\w-]+)((?: [\w-]+)*) -->$", text, re.MULTILINE):
        asked.setdefault(name, set()).update(tables.split())
    for name, tables in asked.items():
        assert fill(text, name, all_tables(read(read_plan(name), Results()), tables)) == text
