"""Figures are known by name before a run, so that a callback cannot wait for one that never comes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from torch import Tensor

from lightning_gft import DynamicCoefficientRectifier, Evaluation, GFTLitModule, GFTLoss, SelfSource, TeacherSource
from lightning_gft.preflight.monitors import evaluation_names, is_logged, training_names
from tests.module.runs import ROWS, Rows, fit, make_module

SAMPLED = {"teacher": TeacherSource(4), "self": SelfSource(num_generations=2, max_new_tokens=4)}
SHORT = Evaluation(num_samples=2, max_new_tokens=4, kl=False)


class CountingRectifier(DynamicCoefficientRectifier):
    """Reports a figure of its own, once it has counted."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("lowest", torch.tensor(0.0), dist_reduce_fx="min")

    def update(self, logprobs: Tensor, coefficients: Tensor | None = None) -> None:
        super().update(logprobs, coefficients)
        self.lowest = torch.minimum(self.lowest, logprobs.min())

    def compute(self) -> dict[str, Tensor]:
        own = {"lowest": self.lowest} if self.lowest else {}
        return {**super().compute(), **own}


class LoggingModule(GFTLitModule):
    """Logs a figure of its own."""

    def on_train_batch_end(self, *_: Any) -> None:
        self.log("val/mine", torch.tensor(1.0))


class Foreign(Callback):
    """May log anything."""


def with_callbacks(*callbacks: Callback, module: Any = None, **arguments: Any) -> Any:
    module = module or make_module(evaluation=SHORT)
    return fit(
        module, Rows(val_rows=ROWS), callbacks=list(callbacks), max_steps=1, enable_checkpointing=True, **arguments
    )


@pytest.mark.parametrize("kl", [True, False])
def test_names_are_those_that_a_run_logs(kl):
    evaluation = Evaluation(num_samples=3, max_new_tokens=4, kl=kl)
    module = make_module(GFTLoss(CountingRectifier()), dict(SAMPLED), evaluation=evaluation)
    names = training_names(module.loss, module.sampler, module.evaluator.correctness(module.sampler.rewards))
    assert module.loss.rectifier.lowest == 0
    assert "train/lowest" in names
    names |= evaluation_names(module.evaluator, module.sampler.rewards, "val", [""]) | module.rows.progress_names
    by_source = {f"{source}_{sign}" for source in ("teacher", "self") for sign in ("positive", "negative")}
    by_source |= {"teacher", "self"}
    may_come = {name for name in names if name.rpartition("/")[2] in by_source}
    assert {name.rpartition("/")[2] for name in may_come} == by_source
    several = {name for name in names if name.endswith("/")}
    trainer = fit(module, Rows(val_rows=ROWS), max_steps=1, log_every_n_steps=1)
    assert names - may_come - several <= set(trainer.callback_metrics)
    assert all(is_logged(name, names) for name in trainer.callback_metrics)


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (
            EarlyStopping("val/mean@8"),
            r"EarlyStopping.monitor: .* got 'val/mean@8'; did you mean val/mean@2\? There are",
        ),
        (EarlyStopping("val_loss"), r"got 'val_loss'; .*there are val/entropy, val/greedy_accuracy, .*, train/loss"),
        (ModelCheckpoint(monitor="train/rewards/accuracy/mean"), "did you mean train/rewards/score/mean"),
        (ModelCheckpoint(monitor="reward/self"), "did you mean"),
        (ModelCheckpoint(filename="{step}-{val/kl:.3f}"), r"ModelCheckpoint.filename: .* got 'val/kl'"),
    ],
)
def test_figure_that_is_never_logged_is_refused_before_training(callback, message, tmp_path):
    module = make_module(evaluation=SHORT)
    with pytest.raises(ValueError, match=message):
        with_callbacks(callback, module=module, default_root_dir=tmp_path)
    assert not hasattr(module, "policy")  # which is loaded after the checks


def test_file_name_that_would_make_a_folder_is_refused_with_one_that_does_not(tmp_path):
    kept = ModelCheckpoint(tmp_path, "{step}-{val/mean@2:.2f}", "val/mean@2")
    with pytest.raises(ValueError, match=r"make a folder.* filename='step=\{step\}-val_mean@2=\{val/mean@2:.2f\}'"):
        with_callbacks(kept)
    named = ModelCheckpoint(
        tmp_path, "step={step}-val_mean@2={val/mean@2:.2f}", "val/mean@2", auto_insert_metric_name=False
    )
    with_callbacks(named)
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("step=1-val_mean@2=0.")


def test_figure_of_a_validation_that_does_not_run_is_refused():
    with pytest.raises(ValueError, match="no validation runs"):
        fit(make_module(evaluation=SHORT), Rows(), callbacks=[EarlyStopping("val/mean@2")])


def test_figures_that_there_are_pass(tmp_path):
    kept = ModelCheckpoint(tmp_path, "{step}-{val/mean@2:.2f}", "val/mean@2", auto_insert_metric_name=False)
    with_callbacks(
        kept,
        EarlyStopping("train/loss"),
        EarlyStopping("reward"),
        LearningRateMonitor(),
        logger=True,
        default_root_dir=tmp_path,
    )
    assert kept.best_model_path


@pytest.mark.parametrize("own", ["module", "callback", "not strict"])
def test_figure_that_own_code_may_log_is_a_warning(own):
    made = make_module(evaluation=SHORT)
    made.__class__ = LoggingModule if own == "module" else GFTLitModule
    stopping = EarlyStopping("val/mine", strict=own != "not strict")
    with pytest.warns(match="got 'val/mine'.*only if code of your own logs it"):
        fit(
            made,
            Rows(),
            callbacks=[stopping, Foreign()] if own == "callback" else [stopping],
            max_steps=1,
            **({"fast_dev_run": True} if own == "callback" else {}),
        )
