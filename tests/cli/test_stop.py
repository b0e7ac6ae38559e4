"""A run that is asked to stop ends after its step, and what it has come to can be gone on from."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lightning_gft.checkpoint import check_checkpoint
from tests.cli.command import GFT
from tests.cli.test_kill import start


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_keeps_a_checkpoint_and_says_that_it_was_stopped(asked: signal.Signals, tmp_path: Path):
    process = start(tmp_path, "--trainer.max_steps=1000", "--trainer.val_check_interval=1000")
    deadline = time.monotonic() + 120
    while not (tmp_path / "kept/step=01.ckpt").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(asked)
    assert process.wait(timeout=60) == 128 + asked
    (path,) = tmp_path.glob("lightning_logs/version_0/checkpoints/stopped-step=*.ckpt")
    check_checkpoint(path)


def test_a_stopped_prediction_keeps_what_it_has_sampled(tmp_path: Path):
    command = [sys.executable, "-m", "lightning_gft", "predict", "--config", GFT, "--data.eval_batch_size=2"]
    process = subprocess.Popen(
        [*command, f"--trainer.default_root_dir={tmp_path}", "--trainer.enable_progress_bar=false"],
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("lightning_logs/version_0/config.yaml")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(3)  # 256 batches take longer
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert 0 < len(pq.read_table(tmp_path / "groups-partial.parquet")) < 512
    assert not (tmp_path / "groups.parquet").exists()
