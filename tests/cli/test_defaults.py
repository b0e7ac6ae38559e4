"""Callbacks that a run has by default, and those that it has not."""

from __future__ import annotations

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_gft.cli import main
from lightning_gft.samples import read_samples
from tests.cli.command import GFT, SMALL

LOGS = "lightning_logs/version_0"


def fit(root: Path, *args: str) -> None:
    main(["fit", f"--config={GFT}", f"--trainer.default_root_dir={root}", *SMALL, *args])


def test_a_fit_keeps_some_groups_and_shows_none(tmp_path: Path, capsys):
    fit(tmp_path)
    kept = read_samples(tmp_path / LOGS)
    assert [(group.step, group.kind, group.dataset, group.group) for group in kept] == [
        *((1, "train", "", place) for place in (0, 1)),
        *((2, "train", "", place) for place in (0, 1)),
        *((2, "val", dataset, place) for dataset in ("", "second_skill") for place in (0, 1)),
    ]
    assert {len(group.responses) for group in kept if group.kind == "train"} == {2}
    assert any(response.trained for group in kept for response in group.responses)
    events = EventAccumulator(str(tmp_path / LOGS))
    events.Reload()
    assert not [tag for tag in events.Tags()["tensors"] if "samples" in tag]
    assert "training, prompt" not in capsys.readouterr().out


def test_a_table_of_ones_own_takes_its_place(tmp_path: Path, capsys):
    options = ("--trainer.callbacks.num_groups=1", "--trainer.callbacks.responses=all", "--trainer.callbacks.show=true")
    fit(tmp_path, "--trainer.callbacks+=GroupTable", *options, "--trainer.limit_val_batches=0")
    kept = read_samples(tmp_path / LOGS)
    assert [(group.step, len(group.responses)) for group in kept] == [(1, 8), (2, 8)]
    assert "Step 1, training, prompt 0: 8 of 8 responses" in capsys.readouterr().out


def test_a_trial_keeps_nothing(tmp_path: Path):
    fit(tmp_path, "--trainer.fast_dev_run=true")
    assert not [*tmp_path.rglob("*.parquet")]
