"""An evaluation loads a checkpoint without a warning about callbacks that it lacks, or that have another folder."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_gft import Advice, Evaluation
from tests.module.runs import ROWS, Rows, fit, make_module, make_trainer

SHORT = Evaluation(num_samples=1, max_new_tokens=2)


class Stateful(Advice):
    """Remembers the state that it was given."""

    loaded: dict[str, Any] | None = None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.loaded = state_dict


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a run that had both callbacks."""
    folder = tmp_path_factory.mktemp("run")
    keep = ModelCheckpoint(folder, filename="first", every_n_train_steps=1)
    fit(make_module(evaluation=SHORT), Rows(ROWS), callbacks=[Stateful(), keep], enable_checkpointing=True, max_steps=1)
    return folder / "first.ckpt"


@pytest.mark.parametrize("stage", ["validate", "predict"])
def test_an_evaluation_says_nothing_of_callbacks(stage: str, checkpoint: Path, tmp_path: Path):
    keep = ModelCheckpoint(tmp_path, every_n_train_steps=1)
    trainer = make_trainer(callbacks=[keep], enable_checkpointing=True, default_root_dir=tmp_path)
    torch.manual_seed(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        getattr(trainer, stage)(make_module(evaluation=SHORT), datamodule=Rows(ROWS, ROWS), ckpt_path=str(checkpoint))
    said = [str(warning.message) for warning in caught]
    assert not [text for text in said if "callbacks" in text or "dirpath" in text]
    assert keep.best_model_path == str(checkpoint)


def test_a_callback_that_an_evaluation_has_gets_its_state(checkpoint: Path):
    own = Stateful()
    torch.manual_seed(0)
    trainer = make_trainer(callbacks=[own])
    trainer.validate(make_module(evaluation=SHORT), datamodule=Rows(ROWS, ROWS), ckpt_path=str(checkpoint))
    assert own.loaded


def test_a_fit_that_resumes_without_a_callback_warns(checkpoint: Path):
    with pytest.warns(UserWarning, match="callbacks used to create the checkpoint"):
        fit(make_module(evaluation=SHORT), Rows(ROWS), ckpt_path=str(checkpoint), max_steps=1)
