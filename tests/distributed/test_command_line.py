"""The command line on two processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.cli.command import GFT, SMALL

UNEVEN = ("--data.num_train=9", "--data.num_val=5", "--data.eval_batch_size=2")


@pytest.mark.parametrize(
    ("subcommand", "strategy"),
    [pytest.param("fit", "ddp", marks=pytest.mark.slow), ("validate", "fsdp2"), ("predict", "fsdp2")],
)
def test_two_processes_end_well_and_speak_once(subcommand: str, strategy: str, tmp_path: Path):
    several = (f"--trainer.strategy={strategy}", "--trainer.devices=2")
    command = [sys.executable, "-m", "lightning_gft", subcommand, "--config", GFT, *SMALL, *UNEVEN, *several]
    done = subprocess.run(
        [*command, f"--trainer.default_root_dir={tmp_path}"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    if subcommand == "predict":
        files = sorted(tmp_path.glob("groups-*.parquet"))
        assert sum(len(pq.read_table(file)) for file in files) == 9
        assert [done.stdout.count(str(file)) for file in files] == [1, 1]
    else:
        assert done.stdout.count("greedy_accuracy") == 1
        assert len(list(tmp_path.glob("lightning_logs/version_*"))) == 1
