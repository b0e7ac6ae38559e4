"""A run that is asked to stop ends after its step, and what it has come to can be gone on from."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from lightning_gft.checkpoint import check_checkpoint
from lightning_gft.stored import StoredGroups
from tests.cli.command import GFT, wait_until
from tests.cli.test_kill import start
from tests.forking import Command
from tests.terminal import Terminal

CLOSED = """
import os
from lightning_gft import ExactMatchReward
class Closed(ExactMatchReward):
    def close(self):
        with open(os.environ["NOTE"], "a") as file:
            file.write("closed\\n")
"""
CLOSED_YAML = """
model:
  sampler:
    rewards:
      accuracy: {class_path: closed.Closed, init_args: {marker: "#"}}
"""


@pytest.mark.parametrize("asked", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_stopped_run_keeps_a_checkpoint_closes_its_parts_and_says_that_it_was_stopped(
    asked: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "closed.py").write_text(CLOSED)
    (tmp_path / "closed.yaml").write_text(CLOSED_YAML)
    monkeypatch.setenv("NOTE", str(tmp_path / "note"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    layer = f"--config={tmp_path / 'closed.yaml'}"
    process = start(tmp_path, "one objective", layer, "--trainer.max_steps=1000", "--trainer.val_check_interval=1000")
    wait_until((tmp_path / "kept/step=01.ckpt").exists, process)
    process.send_signal(asked)
    assert process.wait() == 128 + asked
    (path,) = tmp_path.glob("lightning_logs/version_0/checkpoints/stopped-step=*.ckpt")
    check_checkpoint(path)
    assert (tmp_path / "note").read_text() == "closed\n"


NOTED = """
import os, pathlib
from lightning.pytorch.callbacks import Callback
class Note(Callback):
    def on_predict_batch_end(self, trainer, *args):
        pathlib.Path(os.environ["NOTE"]).touch()
"""


def test_a_stopped_prediction_keeps_what_it_has_sampled_and_says_last_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    note = tmp_path / "sampled"
    (tmp_path / "noted.py").write_text(NOTED)
    monkeypatch.setenv("NOTE", str(note))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    terminal, groups = Terminal(), tmp_path / "groups"
    process = Command(
        *("predict", "--config", GFT, "--data.eval_batch_size=1", "--data.num_train=512"),
        *("--trainer.callbacks=lightning_gft.callbacks.GroupWriter", f"--trainer.callbacks.path={groups}"),
        *("--trainer.callbacks+=noted.Note", f"--trainer.default_root_dir={tmp_path}"),
        stdout=terminal.path,
        stderr=terminal.path,
    )
    wait_until(note.exists, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    assert 0 < len(StoredGroups(groups)) < 512
    assert terminal.lines()[-1] == f"The groups sampled so far are in {groups}; the same command resumes there"
