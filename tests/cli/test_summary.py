"""What a run says at its end of weights that were not kept."""

from __future__ import annotations

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_gft.cli.summary import _reason


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
