"""The command line on two processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.cli.command import GFT, SMALL

DDP = ("--trainer.strategy=ddp", "--trainer.devices=2")


@pytest.mark.parametrize("subcommand", ["fit", "validate", "predict"])
def test_two_processes_end_well_and_speak_once(subcommand: str, tmp_path: Path):
    command = [sys.executable, "-m", "lightning_gft", subcommand, "--config", GFT, *SMALL, *DDP]
    done = subprocess.run(
        [*command, f"--trainer.default_root_dir={tmp_path}"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    if subcommand == "predict":
        files = sorted(tmp_path.glob("groups-*.parquet"))
        assert sum(len(pq.read_table(file)) for file in files) == 8
        assert [done.stdout.count(str(file)) for file in files] == [1, 1]
    else:
        assert done.stdout.count("greedy_accuracy") == 1
        assert len(list(tmp_path.glob("lightning_logs/version_*"))) == 1
