"""What a run prints at its end: its figures, and why weights were not kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_gft import Evaluation
from lightning_gft.cli.summary import _reason, print_figures
from tests.module.runs import ROWS, Rows, fit, make_module


@pytest.mark.parametrize(
    ("keepers", "reason"),
    [
        (
            [],
            "a HuggingFaceExport callback would keep them, or a ModelCheckpoint with trainer.enable_checkpointing=true",
        ),
        ([{"every_n_train_steps": 100}, {"every_n_train_steps": 50}], "ModelCheckpoint first writes at step 50, and "),
        ([{"every_n_train_steps": 100}, {}], "ModelCheckpoint waits for a validation; set its every_n_train_steps"),
    ],
)
def test_why_no_checkpoint_was_kept(keepers, reason):
    assert _reason([ModelCheckpoint(**settings) for settings in keepers], step=3).startswith(reason)


def printed(capsys: pytest.CaptureFixture[str], **arguments: Any) -> list[str]:
    """Return what a fit of two batches an epoch prints above the first figure at its end."""
    module = make_module(evaluation=Evaluation(num_samples=1, max_new_tokens=2, kl=False))
    trainer = fit(module, Rows(ROWS, ROWS, batch_size=2), num_sanity_val_steps=0, **arguments)
    capsys.readouterr()
    print_figures(trainer, "val")
    if (path := arguments.get("default_root_dir")) is not None:
        trainer.save_checkpoint(path / "last.ckpt")
    lines = capsys.readouterr().out.splitlines()
    return lines[: next((number for number, line in enumerate(lines) if "━" in line), 0)]


def test_figures_are_told_apart_from_those_of_an_earlier_run(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert printed(capsys, max_epochs=1, default_root_dir=tmp_path) == []
    path = str(tmp_path / "last.ckpt")
    before = ["Last validation: step 2, before this run"]
    assert printed(capsys, max_epochs=2, limit_val_batches=0, ckpt_path=path) == before
    assert printed(capsys, max_epochs=2, ckpt_path=path) == []
    assert printed(capsys, max_steps=3, max_epochs=-1, ckpt_path=path, check_val_every_n_epoch=2) == before
    own = printed(capsys, max_steps=3, max_epochs=-1)
    assert own == ["Last validation: step 2"]
