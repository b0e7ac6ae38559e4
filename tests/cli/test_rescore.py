"""`lightning-gft rescore`: another verifier without drawing again."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_gft import ArithmeticPolicy
from lightning_gft.cli import main
from lightning_gft.stored import StoredGroups
from tests.cli.command import GFT, ROOT, SMALL, refused, wait_until

OWN = SMALL[2:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Groups of eight prompts in two shards."""
    root = tmp_path_factory.mktemp("predicted")
    main(["predict", "--config", GFT, *OWN, "--data.teacher_slip=0.5", f"--trainer.default_root_dir={root}"])
    return root / "groups"


@pytest.fixture(autouse=True)
def _no_weights(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def load(self: Any) -> Any:
        raise AssertionError("weights are loaded")

    monkeypatch.setattr(ArithmeticPolicy, "load_model", load)


def test_the_same_rewards_change_nothing(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    output = tmp_path / "new"
    main(["rescore", "--config", GFT, f"--groups={folder}", f"--output={output}", "--tolerance=0"])
    shown = capsys.readouterr().out
    assert "0 of 64 responses in 8 groups have another total" in shown
    before, now = ([replace(g, scoring_seconds=0.0) for g in StoredGroups(path)] for path in (folder, output))
    assert before == now
    assert not (tmp_path / "lightning_logs").exists()


def test_a_changed_verifier_is_seen_and_what_it_writes_is_read(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "new"
    other = "--model.sampler.rewards.accuracy.marker=N"
    main(["rescore", "--config", GFT, f"--groups={folder}", f"--output={output}", other, "--show=2"])
    shown = capsys.readouterr().out
    assert "accuracy 1 -> reward 0, accuracy 0; prompt" in shown
    assert shown.count(" -> ") == 2
    assert all(response.reward == 0 for group in StoredGroups(output) for response in group.responses)
    main(["rescore", "--config", GFT, f"--groups={folder}", f"--output={output}", other])  # all is there already
    shown = capsys.readouterr().out
    assert "have another total" in shown
    assert f"All groups in {output} were scored already: none was scored again" in shown


def test_what_is_wrong_is_one_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    args = ["rescore", "--config", GFT, f"--output={tmp_path}"]
    assert "expected a folder that `lightning-gft predict` has written" in refused(capsys, *args, "--groups=nowhere")
    shown = refused(capsys, *args, f"--groups={folder}", f"--output={folder}")
    assert "error: `output`: expected another folder than groups" in shown
    assert "`groups`: expected a folder, got an empty text" in refused(capsys, *args, "--groups=")
    shown = refused(capsys, *args, f"--groups={folder}", "--output=/dev/null/new")
    assert "`output` ('/dev/null/new'): expected a writable path, got /dev/null, which is no folder" in shown


HANGING = """
import os, time
from pathlib import Path

calls = 0

def length(responses):
    global calls
    calls += 1
    marker = os.environ.get("HANGS")
    if marker and calls == 2:
        Path(marker).touch()
        time.sleep(3600)
    return [len(response) / 7 for response in responses]
"""


@pytest.mark.slow
def test_what_a_killed_rescoring_has_written_is_not_scored_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "hanging_reward.py").write_text(HANGING)
    overlay = tmp_path / "overlay.yaml"
    length = {"class_path": "lightning_gft.FunctionReward", "init_args": {"function": "hanging_reward.length"}}
    overlay.write_text(yaml.safe_dump({"model": {"sampler": {"rewards": {"length": length}}}}))
    args = ["rescore", "--config", GFT, "--config", str(overlay), f"--groups={folder}"]
    marker, output, whole = (tmp_path / name for name in ("hangs", "killed", "whole"))
    path = os.pathsep.join([str(tmp_path), str(ROOT), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-m", "lightning_gft", *args, f"--output={output}"],
        env={**os.environ, "HANGS": str(marker), "PYTHONPATH": path},
        cwd=tmp_path,
    )
    wait_until(marker.exists, process)
    process.kill()
    process.wait()
    assert [path.name for path in output.glob("*.parquet")] == ["groups-000000-000.parquet"]
    monkeypatch.syspath_prepend(tmp_path)
    main([*args, f"--output={output}"])
    told = capsys.readouterr().out
    main([*args, f"--output={whole}"])
    assert told.replace(str(output), str(whole)) == capsys.readouterr().out
    resumed, undisturbed = ([replace(g, scoring_seconds=0.0) for g in StoredGroups(path)] for path in (output, whole))
    assert resumed == undisturbed
