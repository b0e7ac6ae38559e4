"""A reward of one's own, as docs/rewards.md shows the whole of it, in the folder that the command is called in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lightning_gft.cli.running import _let_import_from_here
from tests.cli.command import GFT, ROOT
from tests.test_docs import write_files

SMALL = ("--data.num_train=8", "--data.num_val=4", "--data.num_second_skill=4", "--data.batch_size=4")
PROGRAM = "from lightning_gft.cli import main; main()"


@pytest.mark.slow
def test_a_function_in_the_current_folder_is_found(tmp_path: Path):
    write_files(ROOT / "docs/rewards.md", tmp_path)
    (tmp_path / "program").mkdir()
    program = tmp_path / "program/lightning-gft"  # as installed: Python's own path has the folder of the program
    program.write_text(PROGRAM)
    settings = ["--config=own_reward.yaml", "--output=report.json", "--trainer.default_root_dir=runs", *SMALL]
    command = [sys.executable, str(program), "inspect", f"--config={GFT}", *settings]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert [(each["role"], each["measured_by"], each["wrong"]) for each in report["verdicts"]] == [
        ("expert", "ends_right", 0),
        ("teacher", "ends_right", 0),
    ]
    assert report["problems"] == []


def test_the_current_folder_comes_last_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["/elsewhere"])
    _let_import_from_here()
    _let_import_from_here()
    assert sys.path == ["/elsewhere", str(tmp_path)]


def test_a_safe_path_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["/elsewhere"])
    monkeypatch.setattr(sys, "flags", SimpleNamespace(safe_path=True))
    _let_import_from_here()
    assert sys.path == ["/elsewhere"]
