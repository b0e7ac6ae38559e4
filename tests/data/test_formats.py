"""Each example file of docs/formats.md is read by the settings beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_gft import GroupDataModule
from tests.data.conftest import CHATML, TokenizerFactory
from tests.test_docs import blocks, write_files
from website.links import ROOT

PAGE = ROOT / "docs/formats.md"
SETTINGS = {
    arguments["path"]: arguments
    for block in blocks(PAGE, "yaml")
    for arguments in [yaml.safe_load(block.text)["data"]["init_args"]]
}
REFERENCES = {
    "solutions.jsonl": ["7", "60"],
    "solutions.csv": ["4", "5"],
    "teachers.jsonl": ["42"],
    "messages.jsonl": ["2", "2"],
    "sharegpt.json": [None, None],
    "completions.jsonl": [None, None],
    "rows.parquet": [42, 49],
}
DEMONSTRATIONS = {
    "solutions.jsonl": {"expert": [1, 1]},
    "solutions.csv": {"expert": [1, 0]},
    "teachers.jsonl": {"expert": [1], "teacher": [3]},
    "messages.jsonl": {"expert": [1, 1]},
    "sharegpt.json": {"expert": [1, 1]},
    "completions.jsonl": {"expert": [1, 1]},
    "rows.parquet": {},
}


def test_every_example_is_checked() -> None:
    assert SETTINGS.keys() == REFERENCES.keys() == DEMONSTRATIONS.keys()


@pytest.mark.parametrize("path", REFERENCES)
def test_example_is_read(
    path: str, make_tokenizer: TokenizerFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(PAGE, tmp_path)
    for block in blocks(PAGE, "python"):
        exec(block.text, {})  # noqa: S102
    arguments: dict[str, Any] = SETTINGS[path]
    data = GroupDataModule(**arguments, shuffle=False)
    data.tokenizer = make_tokenizer(chat_template=CHATML)
    data.setup("fit")
    (batch,) = list(data.train_dataloader())
    assert batch.references == REFERENCES[path]
    given = {role: [len(responses) for responses in lists] for role, lists in batch.demonstrations.items()}
    assert given == DEMONSTRATIONS[path]
