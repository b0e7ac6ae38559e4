"""Each notebook runs from top to bottom, in a reduced form here, and is fit to be committed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode

from tests.cli.command import ROOT
from tests.conftest import quick
from tests.notebooks.running import NOTEBOOKS, execute, outputs, reduced, shown

REDUCED: dict[str, dict[str, Any]] = {
    "own_lightning_module": {"UPDATES": 2, "NUM_VAL": 4},
    "own_parts": {"UPDATES": 2, "NUM_VAL": 4},
    "qlora": {"UPDATES": 2, "NUM_VAL": 4},
    "rectification": {"NUM_PROMPTS": 8, "NUM_TOKENS": 20, "UPDATES": 1},
    "stages": {"UPDATES": {"sft": 1, "gft": 1, "grpo": 1}, "EVERY": 1, "NUM_VAL": 4},
    "stored_groups": {"NUM_PROMPTS": 32, "UPDATES": 2, "NUM_VAL": 4},
}
"""Parameters of a quick run; the quickstart has a test of its own."""


@pytest.fixture(params=NOTEBOOKS)
def committed(request: Any) -> NotebookNode:
    return nbformat.read(NOTEBOOKS[request.param], as_version=4)


def test_all_are_tested_and_listed():
    assert REDUCED.keys() | {"quickstart"} == NOTEBOOKS.keys()
    readme = (ROOT / "README.md").read_text()
    assert [name for name in NOTEBOOKS if f"(notebooks/{name}.ipynb)" not in readme] == []


@pytest.mark.parametrize("name", quick(REDUCED))
def test_it_runs_and_shows_what_is_committed(name: str, tmp_path: Path):
    if name == "qlora":
        pytest.importorskip("bitsandbytes")
    committed = nbformat.read(NOTEBOOKS[name], as_version=4)
    executed = reduced(committed, REDUCED[name])
    execute(executed, tmp_path)
    assert not list(tmp_path.iterdir()), "the notebook leaves files behind"
    for kind in ("image/png", "text/html"):
        assert len(shown(executed, kind)) == len(shown(committed, kind))
    assert not [output.text for output in outputs(executed) if output.get("name") == "stderr"]


def test_committed_notebook_is_valid_and_small(committed: NotebookNode):
    nbformat.validate(committed)
    assert len(nbformat.writes(committed)) < 400_000


def test_committed_notebook_was_run_from_top_to_bottom(committed: NotebookNode):
    counts = [cell.execution_count for cell in committed.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert not [output.text for output in outputs(committed) if output.get("name") == "stderr"]


def test_committed_notebook_names_no_place_on_a_machine(committed: NotebookNode):
    text = nbformat.writes(committed)
    assert not re.findall(r"(?:/home/|/tmp/|/Users/|site-packages|[A-Z]:\\\\)", text)
    assert str(ROOT) not in text
    assert committed.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
