"""A prediction that is killed at any time resumes, and its groups are those of one that was not."""

from __future__ import annotations

import logging
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from pyarrow import parquet

from lightning_gft import GroupWriter
from lightning_gft.cli import main
from lightning_gft.stored import StoredGroup, StoredGroups
from tests.cli.command import GFT, refused, wait_until
from tests.forking import Command

BATCHES = 6
SIZES = ("--data.batch_size=2", f"--data.num_train={2 * BATCHES}", "--trainer.enable_progress_bar=false")
SLOW = """
import pathlib, time
from lightning.pytorch.callbacks import Callback
class Wait(Callback):
    '''Waits within a batch, until the test kills the run.'''
    def on_predict_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
        if batch_idx == 3:
            time.sleep(900)
"""


def command(root: Path) -> list[str]:
    return ["predict", "--config", GFT, f"--trainer.default_root_dir={root}", *SIZES]


def untimed(folder: Path) -> list[StoredGroup]:
    return [replace(group, sampling_seconds=0.0, scoring_seconds=0.0) for group in StoredGroups(folder)]


def test_a_killed_prediction_resumes_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    main(command(whole))
    (tmp_path / "slow.py").write_text(SLOW)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    process = Command(*command(killed), "--trainer.callbacks=slow.Wait")
    wait_until((killed / "groups/groups-000002-000.parquet").exists, process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = {shard: shard.read_bytes() for shard in StoredGroups(killed / "groups").shards}
    assert len(kept) == 3

    capsys.readouterr()
    main(command(killed))
    assert f"6 groups written to {killed}/groups" in capsys.readouterr().out
    assert untimed(killed / "groups") == untimed(whole / "groups")
    assert all(shard.read_bytes() == content for shard, content in kept.items())
    names = [[path.name for path in sorted((root / "groups").iterdir())] for root in (killed, whole)]
    assert names[0] == names[1]
    timings = ["sampling_seconds", "scoring_seconds"]
    tables = [parquet.read_table(root / "groups").drop_columns(timings) for root in (killed, whole)]
    assert tables[0].equals(tables[1], check_metadata=True)

    main(command(killed))
    assert f"All groups are in {killed}/groups already: nothing was sampled" in capsys.readouterr().out
    shown = refused(capsys, *command(killed), "--model.sampler.sources.self.temperature=0.5")
    assert shown.count("\n") <= 3
    assert "error: `trainer.default_root_dir`: expected a new folder" in shown
    assert "temperature=0.5" in shown
    assert untimed(killed / "groups") == untimed(whole / "groups")


def test_a_prediction_of_no_batches_says_so_and_a_folder_needs_a_name(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    main([*command(tmp_path), "--trainer.limit_predict_batches=0"])
    assert "Sampled no groups: trainer.limit_predict_batches is 0" in caplog.messages
    with pytest.raises(ValueError, match="`path` of GroupWriter: expected a folder to write to, got an empty text"):
        GroupWriter(path="")
