"""A resumed run logs, measures and keeps what an uninterrupted one does, wherever its checkpoint was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, ModelCheckpoint
from lightning.pytorch.loggers import Logger
from torch.optim import AdamW
from torch.optim.lr_scheduler import LinearLR

from lightning_gft import Evaluation, GFTLitModule, WarmupSchedule
from lightning_gft.checkpoint.resuming import check_same_path
from tests.conftest import quick
from tests.module.runs import ROWS, Row, Rows, fit, make_module, of_the_run, weights

pytestmark = pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual", "ignore:Be aware that when using")

HOOKS = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_validation_batch_end",
    "on_validation_end",
    "on_train_epoch_end",
)


class TwoSets(Rows):
    """Validates on two data sets, in batches of two rows."""

    def load_rows(self, split: str) -> dict[str, list[Row]]:
        rows = super().load_rows(split)
        return rows if split == "train" else {"": self.val_rows, "other": self.val_rows[:3]}


class Recorder(Logger):
    """Keeps the rows that it is given."""

    name = "recorder"
    version = 0

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append((step, of_the_run(metrics)))


class KeepAt(Checkpoint):
    """Writes a checkpoint in every hook after a batch, and notes how many rows had been logged."""

    def __init__(self, folder: Path, recorder: Recorder, batch: int) -> None:
        self.kept: dict[str, int] = {}
        for hook in HOOKS:
            # The hook at a batch's start is called when the next batch is counted.
            setattr(self, hook, self._keeper(hook, folder, recorder, batch + (hook == "on_train_batch_start")))

    def _keeper(self, hook: str, folder: Path, recorder: Recorder, batch: int) -> Callable[..., None]:
        def keep(trainer: Trainer, *_: Any) -> None:
            if hook in self.kept or trainer.fit_loop.epoch_loop.batch_progress.total.ready != batch:
                return
            self.kept[hook] = len(recorder.rows)
            trainer.save_checkpoint(folder / f"{hook}.ckpt")

        return keep


class Finished:
    """What is left of a run: its rows, weights, best checkpoint, and the trainer."""

    def __init__(
        self,
        root: Path,
        ckpt_path: Path | None = None,
        keep_at: int = 0,
        updates_per_batch: int = 1,
        lr_scheduler: Any = lambda optimizer: LinearLR(optimizer, total_iters=6),
        **settings: Any,
    ) -> None:
        self.module: GFTLitModule = make_module(
            optimizer=lambda parameters: AdamW(parameters, lr=0.05),
            lr_scheduler=lr_scheduler,
            evaluation=Evaluation(num_samples=2, max_new_tokens=4),
            updates_per_batch=updates_per_batch,
        )
        recorder = Recorder()
        data = TwoSets(ROWS[:3], ROWS, batch_size=1)
        data.eval_batch_size = 2
        self.best = ModelCheckpoint(
            root / "best", filename="{step}", monitor="val/entropy", save_on_train_epoch_end=False
        )
        self.keeper = KeepAt(root, recorder, keep_at) if keep_at else None
        callbacks = [self.best, *([self.keeper] if self.keeper else [])]
        settings = {"log_every_n_steps": 1, "enable_checkpointing": True, "max_epochs": 3, **settings}
        self.trainer = fit(
            self.module, data, ckpt_path=ckpt_path and str(ckpt_path), callbacks=callbacks, logger=recorder, **settings
        )
        self.rows = recorder.rows


OVER_EPOCHS = {"check_val_every_n_epoch": None}
SETTINGS: dict[str, tuple[int, dict[str, Any]]] = {
    "in the middle of an epoch": (2, {"val_check_interval": 2}),
    "counted over epochs": (4, {**OVER_EPOCHS, "val_check_interval": 2, "max_epochs": 2}),
    "without a validation": (2, {"check_val_every_n_epoch": 2, "max_epochs": 2, "limit_train_batches": 2}),
    "at the end of an epoch": (3, {"max_epochs": 2}),
    "after the last step": (4, {**OVER_EPOCHS, "val_check_interval": 4, "max_steps": 7, "updates_per_batch": 2}),
}


@pytest.mark.parametrize("name", quick(SETTINGS, "in the middle of an epoch"))
def test_from_wherever_a_checkpoint_was_written(name: str, tmp_path: Path):
    keep_at, settings = SETTINGS[name]
    whole = Finished(tmp_path / "whole", keep_at=keep_at, **settings)
    assert whole.keeper is not None
    assert any("val/other/entropy" in row for _, row in whole.rows)
    for hook, logged in whole.keeper.kept.items():
        resumed = Finished(tmp_path / hook, tmp_path / f"whole/{hook}.ckpt", **settings)
        assert resumed.rows == whole.rows[logged:], hook
        assert resumed.trainer.global_step == whole.trainer.global_step
        assert resumed.trainer.max_steps == whole.trainer.max_steps
        assert resumed.best.best_model_score == whole.best.best_model_score, hook
        assert Path(resumed.best.best_model_path).name == Path(whole.best.best_model_path).name
        torch.testing.assert_close(weights(resumed.module), weights(whole.module), rtol=0, atol=0)


def test_the_data_of_a_schedule_that_lasts_as_long_as_the_run(tmp_path: Path):
    settings = {"max_epochs": 2, "lr_scheduler": WarmupSchedule("linear", warmup_steps=1)}  # it counts the batches
    whole = Finished(tmp_path / "whole", keep_at=2, **settings)
    assert whole.keeper is not None
    kept = whole.keeper.kept["on_train_batch_end"]
    resumed = Finished(tmp_path / "rest", tmp_path / "whole/on_train_batch_end.ckpt", **settings)
    assert resumed.rows == whole.rows[kept:]
    torch.testing.assert_close(weights(resumed.module), weights(whole.module), rtol=0, atol=0)


def test_one_count_of_steps(tmp_path: Path):
    settings = {**OVER_EPOCHS, "val_check_interval": 2, "max_steps": 5, "updates_per_batch": 2}
    run = Finished(tmp_path, **settings)
    assert [step for step, _ in run.rows] == [2, 4, 4, 5]  # the last batch takes one update; a validation between
    assert ["val/entropy" in row for _, row in run.rows] == [False, False, True, False]
    assert run.trainer.global_step == run.module.run.steps() == 5
    assert [path.name for path in (tmp_path / "best").glob("*.ckpt")] == ["step=4.ckpt"]


def test_the_rest_of_an_epoch_that_max_steps_cut_short(tmp_path: Path):
    whole = Finished(tmp_path, max_epochs=2)
    short = Finished(tmp_path, max_epochs=1, max_steps=1)
    short.trainer.save_checkpoint(tmp_path / "short.ckpt")
    resumed = Finished(tmp_path, tmp_path / "short.ckpt", max_epochs=2)
    assert resumed.rows == whole.rows[1:]
    torch.testing.assert_close(weights(resumed.module), weights(whole.module), rtol=0, atol=0)


def test_a_figure_that_a_checkpoint_notes_stays_exact(tmp_path: Path):
    settings = {**OVER_EPOCHS, "val_check_interval": 2}
    run = Finished(tmp_path, max_steps=2, **settings)
    run.trainer.save_checkpoint(tmp_path / "last.ckpt")
    resumed = Finished(tmp_path, tmp_path / "last.ckpt", max_steps=3, **settings)  # without another validation
    assert resumed.module.run.measured() == run.module.run.measured() != {}


def test_a_callback_writes_figures_at_the_step_of_all_others(tmp_path: Path):
    class Mine(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
            pl_module.rows.write({"train/mine": 1.0})

    recorder = Recorder()
    module = make_module(updates_per_batch=2)
    fit(module, Rows(batch_size=2), callbacks=[Mine()], logger=recorder, log_every_n_steps=1)
    steps = {name: [step for step, row in recorder.rows if name in row] for name in ("train/loss", "train/mine")}
    assert steps == {"train/loss": [2, 4], "train/mine": [2, 4]}


def test_ranks_must_resume_from_one_checkpoint():
    strategy = SimpleNamespace(broadcast=lambda path: "step=2.ckpt")
    check_same_path(SimpleNamespace(ckpt_path="step=2.ckpt", strategy=strategy, global_rank=1))
    with pytest.raises(ValueError, match=r"got step=1.ckpt on rank 1 and step=2.ckpt on rank 0"):
        check_same_path(SimpleNamespace(ckpt_path="step=1.ckpt", strategy=strategy, global_rank=1))
