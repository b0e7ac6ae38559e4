"""A callback that needs a validation figure before the first validation is an error, or a warning if it only waits."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from lightning_gft import Evaluation, SFTLoss
from lightning_gft.callbacks import Stage, StageSchedule
from lightning_gft.callbacks.stages import Until
from lightning_gft.preflight import check_fit
from tests.module.runs import ROWS, Rows, fit, make_module

FIGURE = "val/mean@2"
NEVER = "expected a figure that is logged, got 'val/mean@2', which is never measured, so it has no effect"


def run(*callbacks: Callback, **settings: Any) -> tuple[Trainer, list[str]]:
    """Return the trainer and the warnings of a run with two batches an epoch."""
    module = make_module(evaluation=Evaluation(num_samples=2, max_new_tokens=2, kl=False))
    given = {"num_sanity_val_steps": 0, "enable_checkpointing": True, **settings}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer = fit(module, Rows(ROWS, ROWS, batch_size=2), callbacks=list(callbacks), **given)
    return trainer, [text for w in caught if ": expected " in (text := str(w.message))]


@pytest.mark.parametrize(
    ("settings", "at_epochs", "first", "end"),
    [
        ({"max_steps": 1}, None, 2, 1),
        ({"max_epochs": 2, "check_val_every_n_epoch": 2}, True, 4, 2),
        ({"max_steps": 3, "max_epochs": -1, "check_val_every_n_epoch": None, "val_check_interval": 3}, True, 3, 2),
    ],
)
def test_early_stopping_that_would_end_the_run_for_lack_of_a_figure_is_refused(
    settings: dict[str, Any], at_epochs: bool | None, first: int, end: int, tmp_path: Path
):
    message = (
        "`EarlyStopping.monitor`: expected a figure that is logged before the end of the first epoch, got "
        f"'val/mean@2', which is first measured after batch {first} while the epoch ends after batch {end}; "
    )
    settings["default_root_dir"] = tmp_path
    with pytest.raises(ValueError, match=f"^{re.escape(message)}.*strict: false"):
        run(EarlyStopping(FIGURE, check_on_train_epoch_end=at_epochs), **settings)
    lenient = EarlyStopping(FIGURE, strict=False, check_on_train_epoch_end=at_epochs)
    trainer, told = run(lenient, **settings)
    assert trainer.global_step == settings.get("max_steps", 4)
    never = [text.partition("; ")[0] for text in told if "never measured" in text]
    assert never == ([f"`EarlyStopping.monitor`: {NEVER}"] if first > settings.get("max_steps", 4) else [])


@pytest.mark.parametrize("kind", [EarlyStopping, ModelCheckpoint, StageSchedule])
def test_what_only_waits_is_a_warning(kind: type[Callback], tmp_path: Path):
    until = Until(FIGURE, patience=1)
    made: dict[Any, Callback] = {
        EarlyStopping: EarlyStopping(FIGURE, check_on_train_epoch_end=False),
        ModelCheckpoint: ModelCheckpoint(tmp_path, monitor=FIGURE),
        StageSchedule: StageSchedule({"sft": Stage(SFTLoss(), until=until)}, save=False),
    }
    setting = "stages.sft.until.monitor" if kind is StageSchedule else f"{kind.__name__}.monitor"
    trainer, told = run(made[kind], max_steps=1, default_root_dir=tmp_path)
    assert [text.partition("; ")[0] for text in told if "never measured" in text] == [f"`{setting}`: {NEVER}"]
    assert trainer.global_step == 1


def test_figures_that_come_in_time_pass(tmp_path: Path):
    callbacks = [EarlyStopping(FIGURE, check_on_train_epoch_end=True), ModelCheckpoint(tmp_path, monitor=FIGURE)]
    for settings in ({"max_steps": 2}, {"max_steps": 1, "val_check_interval": 1}):
        assert run(*callbacks, default_root_dir=tmp_path, **settings)[1] == []


def test_a_resumed_run_has_the_figures_of_its_checkpoint(tmp_path: Path):
    settings = {"check_val_every_n_epoch": 2, "default_root_dir": tmp_path}
    stops = EarlyStopping(FIGURE, check_on_train_epoch_end=True, patience=9)
    path = str(tmp_path / "last.ckpt")
    run(max_epochs=2, **settings)[0].save_checkpoint(path)
    trainer, told = run(stops, max_epochs=3, ckpt_path=path, **settings)
    assert (trainer.global_step, told) == (6, [])
    assert stops.best_score.isfinite()  # it has compared the figure


@pytest.mark.parametrize("settings", [{"max_epochs": 0}, {"max_steps": 0}])
def test_a_run_that_trains_nothing_needs_no_figure(settings: dict[str, Any], tmp_path: Path):
    trainer, told = run(EarlyStopping(FIGURE), default_root_dir=tmp_path, **settings)
    assert trainer.global_step == 0
    assert not any("EarlyStopping" in text for text in told)
    check_fit(trainer, trainer.lightning_module, own_code=False)  # as an inspection does


def test_each_figure_that_never_comes_is_named(tmp_path: Path):
    figures = (FIGURE, "val/pass@2")
    keepers = [ModelCheckpoint(tmp_path / str(n), monitor=figure) for n, figure in enumerate(figures)]
    told = [text for text in run(*keepers, max_steps=1, default_root_dir=tmp_path)[1] if "never measured" in text]
    assert [text.partition("; ")[0] for text in told] == [
        f"`ModelCheckpoint.monitor`: {NEVER.replace(FIGURE, figure)}" for figure in figures
    ]
