"""The step at which a run is said to end is the one at which it ends."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import Callback

from lightning_gft import Evaluation, GFTLoss, SFTLoss
from lightning_gft.callbacks import Stage, StageSchedule
from lightning_gft.callbacks.stages import Until
from lightning_gft.cli.ending import step_of_end
from tests.conftest import quick
from tests.module.runs import ROWS, Rows, fit, make_module

HOOKS = ("on_train_batch_end", "on_validation_end", "on_train_epoch_end")
SHORT = Evaluation(num_samples=2, max_new_tokens=2, kl=False)


class Ends(Callback):
    """Notes the predicted end as training, each batch and each validation begin and end."""

    def __init__(self) -> None:
        self.predicted: list[int | None] = []

    def on_train_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.predicted.append(step_of_end(trainer, pl_module))

    on_train_batch_start = on_train_batch_end = on_validation_end = on_train_start


class KeepAt(Callback):
    """Writes a checkpoint in a hook of the last batch of the first epoch."""

    def __init__(self, hook: str, path: Path) -> None:
        setattr(self, hook, lambda trainer, *_: trainer.global_step == 4 and trainer.save_checkpoint(path))


def ends(**arguments: Any) -> tuple[set[int | None], int]:
    """Return the ends that a run predicts, and its actual end."""
    ends, updates = Ends(), arguments.pop("updates_per_batch", 1)
    data = Rows(ROWS * 2, ROWS[:1], batch_size=arguments.pop("batch_size", 2))
    callbacks = [*arguments.pop("callbacks", []), ends]
    module = make_module(evaluation=SHORT, updates_per_batch=updates)
    trainer = fit(module, data, callbacks=callbacks, **{"num_sanity_val_steps": 0, **arguments})
    return {*ends.predicted}, trainer.global_step


@pytest.mark.parametrize(
    "case", quick(product([1, 2, 4], HOOKS), (1, "on_train_batch_end"), (4, "on_validation_end")), ids=str
)
def test_a_resumed_run_counts_the_batches_that_are_left(case: tuple[int, str], tmp_path: Path):
    (batch_size, hook), path = case, tmp_path / "kept.ckpt"
    assert ends(max_epochs=1, callbacks=[KeepAt(hook, path)]) == ({4}, 4)
    later = {"batch_size": batch_size, "ckpt_path": str(path)}
    end = 4 + 8 // batch_size
    assert ends(max_epochs=2, **later) == ({end}, end)
    assert ends(max_epochs=2, max_steps=5, **later) == ({5}, 5)


def test_updates_of_a_batch_count():
    assert ends(max_epochs=2, updates_per_batch=2) == ({16}, 16)
    assert ends(max_epochs=2, updates_per_batch=2, max_steps=3) == ({3}, 3)


def test_stages_end_a_run_at_the_sum_of_their_steps():
    stages = StageSchedule({"sft": Stage(SFTLoss(), max_steps=2), "gft": Stage(GFTLoss(), max_steps=3)}, save=False)
    assert ends(max_epochs=-1, callbacks=[stages]) == ({5}, 5)
    assert ends(max_epochs=-1, max_steps=4, callbacks=[stages]) == ({4}, 4)


def test_the_end_of_a_stage_that_waits_is_not_known():
    waits = Stage(GFTLoss(), max_steps=9, until=Until("val/mean@2", patience=1))
    stages = StageSchedule({"sft": Stage(SFTLoss(), max_steps=2), "gft": waits}, save=False)
    predicted, _ = ends(max_epochs=-1, max_steps=6, callbacks=[stages])
    assert predicted == {None}


def test_epochs_may_end_a_run_in_stages():
    def stages(**later: Any) -> StageSchedule:
        return StageSchedule({"sft": Stage(SFTLoss(), max_steps=3), "gft": Stage(GFTLoss(), **later)}, save=False)

    assert ends(max_epochs=1, callbacks=[stages(max_steps=9)]) == ({4}, 4)
    assert ends(max_epochs=3, callbacks=[stages(max_steps=2, updates_per_batch=2)]) == ({5}, 5)
    predicted, end = ends(max_epochs=1, callbacks=[stages(max_steps=9, updates_per_batch=2)])
    assert (end, predicted - {None}) == (5, {5})  # known in the last stage
