"""A run that is killed at any time resumes as if it had not been."""

from __future__ import annotations

import csv
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.cli.command import GFT, wait_until
from tests.forking import Command
from tests.module.runs import of_the_run

UPDATES = 8
RUN = (
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_checkpointing=true",
    f"--trainer.max_steps={UPDATES}",
    "--trainer.val_check_interval=4",
    "--data.num_train=12",  # three batches an epoch, so that it is killed in the middle of one
    "--data.num_val=4",
    "--data.num_second_skill=4",
    "--data.batch_size=4",
    "--model.evaluation.num_samples=2",
    "--model.loss.rectifier=lightning_gft.AdaptiveCoefficientRectifier",
    "--model.loss.rectifier.rectified_fraction=0.3",
    "--model.optimizer.lr=0.001",
)


PART = "lightning_gft."
STAGES = {
    "class_path": "lightning_gft.callbacks.StageSchedule",
    "init_args": {
        "stages": {
            "sft": {
                "loss": {"class_path": PART + "SFTLoss"},
                "sources": {"expert": {"class_path": PART + "ExpertSource"}},
                "max_steps": 3,
            },
            "gft": {
                "lr_scheduler": {"class_path": PART + "WarmupSchedule", "init_args": {"name": "linear"}},
                "max_epochs": 1,
            },
            "grpo": {
                "loss": {"class_path": PART + "GRPOLoss"},
                "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.01, "momentum": 0.9}},
                "max_steps": 2,
            },
        }
    },
}
CALLBACKS: dict[str, list[Any]] = {"one objective": [], "stages": [STAGES]}


def start(root: Path, callbacks: str, *args: str) -> Command:
    keep = {
        "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
        "init_args": {
            "dirpath": str(root / "kept"),
            "filename": "{step:02d}",
            "every_n_train_steps": 1,
            "save_top_k": -1,
        },
    }
    root.mkdir(exist_ok=True)
    overlay = root / "keep.yaml"
    overlay.write_text(yaml.safe_dump({"trainer": {"callbacks": [*CALLBACKS[callbacks], keep]}}))
    configs = ("--config", GFT, "--config", str(overlay))
    return Command("fit", *configs, f"--trainer.default_root_dir={root}", *RUN, *args)


def newest(root: Path) -> Path:
    return max((root / "kept").glob("*.ckpt"))


def kill_after(root: Path, updates: int, callbacks: str, *args: str) -> None:
    """Run, and kill without warning as soon as a number of updates has been kept."""
    process = start(root, callbacks, *args)
    wait_until((root / f"kept/step={updates:02d}.ckpt").exists, process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def figures(root: Path) -> dict[tuple[str, str], str]:
    """Return all that was logged below ``root`` by step and name, what a later run logged last; but no speeds."""
    found = {}
    for path in sorted(root.glob("lightning_logs/*/metrics.csv")):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                found.update({(row["step"], name): value for name, value in row.items() if value})
    return {key: value for key, value in found.items() if of_the_run({key[1]: 0.0})}


@pytest.mark.slow
@pytest.mark.parametrize(("callbacks", "first"), [("one objective", 2), ("stages", 3)])
def test_a_killed_run_goes_on_as_if_it_had_not_been(callbacks: str, first: int, tmp_path: Path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole, callbacks).wait() == 0
    kill_after(killed, first, callbacks)
    kill_after(killed, 5, callbacks, f"--ckpt_path={newest(killed)}")
    assert start(killed, callbacks, f"--ckpt_path={newest(killed)}").wait() == 0

    states = [torch.load(newest(root), weights_only=True) for root in (whole, killed)]
    assert newest(killed).name == f"step={UPDATES:02d}.ckpt"
    assert states[0]["lightning_gft"] == states[1]["lightning_gft"]
    for part in ("state_dict", "optimizer_states"):
        torch.testing.assert_close(*(state[part] for state in states), rtol=0, atol=0)
    assert figures(killed) == figures(whole)
