"""A validation that was due when a run was killed is made up when it goes on."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.optim import AdamW

from lightning_gft import Evaluation
from lightning_gft.checkpoint import MEASURED_AT
from tests.module.runs import ROWS, Rows, fit, make_module

pytestmark = pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual", "ignore:Be aware that when using")


def run(root: Path, ckpt_path: Path | None = None, **keep: object) -> dict[str, dict[str, str]]:
    """Train for two epochs of four steps with a validation after every second; return what was logged, by step."""
    module = make_module(
        optimizer=lambda parameters: AdamW(parameters, lr=0.01), evaluation=Evaluation(num_samples=2, max_new_tokens=4)
    )
    kept = ModelCheckpoint(root, filename="{step}", save_top_k=-1, **keep)
    logger = CSVLogger(root, name="", version="logs")
    settings = {"max_epochs": 2, "val_check_interval": 2, "log_every_n_steps": 1, "enable_checkpointing": True}
    data = Rows(ROWS, ROWS, batch_size=1)
    fit(module, data, ckpt_path=ckpt_path and str(ckpt_path), callbacks=[kept], logger=logger, **settings)
    found: dict[str, dict[str, str]] = {}
    with (root / "logs/metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["step"], {}).update({name: value for name, value in row.items() if value})
    return {step: {k: v for k, v in row.items() if "per_second" not in k} for step, row in found.items()}


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 6])
def test_from_a_checkpoint_before_the_validation_of_its_step(step: int, tmp_path: Path):
    whole = run(tmp_path / "whole", every_n_train_steps=1)
    assert [name for name, row in whole.items() if "val/mean@2" in row] == ["1", "3", "5", "7"]
    resumed = run(tmp_path / "resumed", tmp_path / f"whole/step={step}.ckpt", every_n_train_steps=1)
    due = [str(step - 1)] if step % 2 == 0 else []
    assert list(resumed) == due + [str(number) for number in range(step, 8)]
    for number, row in resumed.items():
        expected = {k: v for k, v in whole[number].items() if k.startswith("val/")} if number in due else whole[number]
        assert {k: v for k, v in row.items() if k in expected} == expected


@pytest.mark.parametrize("step", [2, 4])
def test_from_a_checkpoint_after_it(step: int, tmp_path: Path):
    whole = run(tmp_path / "whole", save_on_train_epoch_end=False)  # whenever something has been measured
    resumed = run(tmp_path / "resumed", tmp_path / f"whole/step={step}.ckpt", every_n_train_steps=1)
    state = torch.load(tmp_path / f"whole/step={step}.ckpt", weights_only=True)
    assert state["lightning_gft"]["measured"][MEASURED_AT] == step
    assert list(resumed) == [str(number) for number in range(step, 8)]
    assert resumed == {number: whole[number] for number in resumed}
