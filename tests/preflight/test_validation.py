"""A validation interval that the data are too few for."""

from __future__ import annotations

import re
import warnings
from typing import Any

import pytest
from lightning.pytorch import Trainer

from lightning_gft import Evaluation
from lightning_gft.preflight import check_validation_interval
from tests.module.runs import ROWS, Rows, fit, make_module
from tests.preflight.test_data import module_with
from tests.tiny import tiny_loader

NEVER = (
    "`trainer.val_check_interval`: expected at most 4, the batches of all epochs, got 5, so the run is never "
    "validated; lower it, or raise trainer.max_epochs"
)


def data_of(**settings: Any) -> Rows:
    data = Rows(**{"batch_size": 2, "val_rows": ROWS, **settings})
    data.tokenizer = tiny_loader().tokenizer
    data.setup("fit")
    return data


def trainer_of(**settings: Any) -> Trainer:
    return Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **{"val_check_interval": 3, **settings})


def test_an_interval_longer_than_an_epoch_is_an_error_before_the_weights_are_loaded():
    message = (
        "`trainer.val_check_interval`: expected at most 2, the batches of an epoch, got 3; set "
        "`trainer.check_val_every_n_epoch: null` to count batches over epochs, or lower it"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        fit(module_with(), Rows(batch_size=2, val_rows=ROWS), val_check_interval=3, max_epochs=2)


@pytest.mark.parametrize(
    ("settings", "batches"),
    [
        ({"limit_train_batches": 1, "val_check_interval": 2}, 1),
        ({"limit_train_batches": 0.5, "val_check_interval": 2}, 1),
        ({"overfit_batches": 1, "val_check_interval": 2}, 1),
        ({}, 2),
    ],
)
def test_the_batches_are_those_that_lightning_counts(settings: dict[str, Any], batches: int):
    with pytest.raises(ValueError, match=f"expected at most {batches}, the batches of an epoch"):
        check_validation_interval(trainer_of(**settings), data_of())
    settings = {**settings, "val_check_interval": batches, "max_steps": 1}
    check_validation_interval(trainer_of(**settings), data_of())
    fit(make_module(evaluation=Evaluation(max_new_tokens=2)), Rows(batch_size=2, val_rows=ROWS), **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"check_val_every_n_epoch": None, "max_epochs": 2},
        {"check_val_every_n_epoch": None, "max_steps": 3},
        {"limit_val_batches": 0},
        {"limit_train_batches": 0},
        {"fast_dev_run": True},
        {"val_check_interval": 0.5},
        {"val_check_interval": "00:00:01:00"},
        {"val_check_interval": 2},
    ],
)
def test_other_settings_pass(settings: dict[str, Any]):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="`trainer")
        check_validation_interval(trainer_of(**settings), data_of())


def test_data_without_a_validation_set_pass():
    check_validation_interval(trainer_of(check_val_every_n_epoch=None, max_epochs=1), data_of(val_rows=()))


@pytest.mark.parametrize(
    ("settings", "updates", "least", "interval"),  # an epoch has two batches
    [
        ({"check_val_every_n_epoch": None, "val_check_interval": 5}, 1, 5, "val_check_interval"),
        ({"check_val_every_n_epoch": None, "val_check_interval": 5}, 3, 13, "val_check_interval"),
        ({"val_check_interval": 2}, 2, 3, "val_check_interval"),
        ({"val_check_interval": 1.0}, 1, 2, "val_check_interval"),
        ({"val_check_interval": 0.5, "check_val_every_n_epoch": 3}, 2, 9, "check_val_every_n_epoch"),
    ],
)
def test_steps_that_end_before_the_first_validation_are_a_warning(
    settings: dict[str, Any], updates: int, least: int, interval: str
):
    message = (
        f"`trainer.max_steps`: expected at least {least}, the step of the first validation, got {least - 1}, so the "
        f"run is never validated; raise it, or lower trainer.{interval}"
    )
    with pytest.warns(UserWarning, match=f"^{re.escape(message)}$"):
        check_validation_interval(trainer_of(**settings, max_steps=least - 1), data_of(), updates)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="`trainer")
        for ends in ({"max_steps": least}, {"max_steps": -1}, {"max_steps": 1, "limit_val_batches": 0}):
            check_validation_interval(trainer_of(**settings, **ends), data_of(), updates)


@pytest.mark.parametrize(("max_steps", "validated"), [(4, False), (5, True)])
def test_the_step_of_the_first_validation_is_that_of_a_run(max_steps: int, validated: bool):
    module = make_module(evaluation=Evaluation(max_new_tokens=2), updates_per_batch=2)
    settings = {"check_val_every_n_epoch": None, "val_check_interval": 3, "max_steps": max_steps, "max_epochs": -1}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer = fit(module, Rows(batch_size=2, val_rows=ROWS), **settings)
    expected = [] if validated else ["`trainer.max_steps`: expected at least 5, the step of the first validation"]
    assert [text.partition(", got")[0] for w in caught if "never validated" in (text := str(w.message))] == expected
    assert any(name.startswith("val/") for name in trainer.callback_metrics) == validated


def test_epochs_that_end_before_the_first_validation_are_a_warning():
    message = (
        "`trainer.check_val_every_n_epoch`: expected at most 2, the epochs of the run, got 3, so the run is never "
        "validated; lower it, or raise trainer.max_epochs"
    )
    with pytest.warns(UserWarning, match=f"^{re.escape(message)}$"):
        check_validation_interval(
            trainer_of(check_val_every_n_epoch=3, val_check_interval=1.0, max_epochs=2), data_of()
        )


def test_a_run_that_is_too_short_for_any_validation_is_a_warning():
    settings = {"check_val_every_n_epoch": None, "max_epochs": 2, "val_check_interval": 5}
    with pytest.warns(UserWarning, match=f"^{re.escape(NEVER)}$"):
        check_validation_interval(trainer_of(**settings), data_of())
