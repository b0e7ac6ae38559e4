"""Lightning's callbacks and loggers beside the module: what works, and what is refused before training."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import callbacks as lightning
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.tuner import Tuner

from lightning_gft import Evaluation, ExpertSource, GFTLitModule, SelfSource, TeacherSource
from lightning_gft.preflight.monitors import evaluation_names, training_names
from tests.module.runs import ROWS, Rows, fit, make_module, make_trainer

SHORT = Evaluation(num_samples=2, max_new_tokens=4)


class Unfreezing(lightning.BaseFinetuning):
    """Unfreezes in its own way."""

    def freeze_before_training(self, pl_module: Any) -> None: ...

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None: ...


REFUSED = {
    "LearningRateFinder": (lightning.LearningRateFinder, r"model\.optimizer\.lr"),
    "BatchSizeFinder": (lightning.BatchSizeFinder, r"model\.micro_batch_tokens"),
    "GradientAccumulationScheduler": (
        lambda: lightning.GradientAccumulationScheduler({0: 2}),
        r"data\.batch_size prompts",
    ),
    "ModelPruning": (lambda: lightning.ModelPruning("l1_unstructured", amount=0.5), "prune the exported model"),
    "BackboneFinetuning": (lightning.BackboneFinetuning, r"model\.policy\.lora"),
    "Unfreezing": (Unfreezing, r"model\.policy\.lora"),
    "StochasticWeightAveraging": (lambda: lightning.StochasticWeightAveraging(1e-2), "WeightAveraging"),
}


class WithCallback(GFTLitModule):
    """Brings a callback of its own."""

    own: Callback

    def configure_callbacks(self) -> list[Callback]:
        return [self.own]


CASES = [*((name, False) for name in REFUSED), ("ModelPruning", True), ("GradientAccumulationScheduler", True)]


@pytest.mark.parametrize(("name", "of_the_module"), CASES)
def test_callbacks_that_cannot_work_are_refused(name: str, of_the_module: bool):
    make, message = REFUSED[name]
    module = make_module()
    if of_the_module:
        module.__class__, module.own = WithCallback, make()
    with pytest.raises(
        ValueError, match=rf"`trainer\.callbacks`: expected supported callbacks, got {name}: .*{message}"
    ):
        fit(module, callbacks=[] if of_the_module else [make()])
    assert not hasattr(module, "policy")


def test_the_tuner_is_refused():
    with pytest.raises(ValueError, match=r"`trainer\.callbacks`: expected supported callbacks, got LearningRateFinder"):
        Tuner(make_trainer()).lr_find(make_module(), datamodule=Rows())


def test_averages_of_split_weights_are_refused():
    averaging = EMAWeightAveraging()
    with pytest.raises(ValueError, match=r"supported callbacks, got EMAWeightAveraging: .*trainer.strategy=ddp"):
        fit(make_module(), callbacks=[averaging], strategy=ModelParallelStrategy())


def test_all_that_works_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    called: list[str] = []
    timer = lightning.Timer(timedelta(minutes=5))
    monitor = lightning.LearningRateMonitor("step")
    together = [
        monitor,
        timer,
        lightning.DeviceStatsMonitor(cpu_stats=True),
        lightning.EarlyStopping("val/kl", patience=9),
        lightning.EMAWeightAveraging(decay=0.5),
        lightning.LambdaCallback(on_train_batch_end=lambda *_: called.append("batch")),
        lightning.ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1),
        lightning.ModelSummary(),
        lightning.RichModelSummary(),
        lightning.OnExceptionCheckpoint(tmp_path),
        lightning.SpikeDetection(rtol=1e6),
        lightning.ThroughputMonitor(batch_size_fn=len, window_size=2),
        lightning.TQDMProgressBar(),
    ]
    loggers = [CSVLogger(tmp_path), TensorBoardLogger(tmp_path)]
    trainer = fit(
        make_module(evaluation=SHORT),
        Rows(val_rows=ROWS, batch_size=1),
        callbacks=together,
        logger=loggers,
        log_every_n_steps=1,
        val_check_interval=2,
        enable_checkpointing=True,
        enable_progress_bar=True,
        enable_model_summary=True,
    )
    assert called == ["batch"] * 4
    assert trainer.callback_metrics["lr-SGD"] == pytest.approx(0.1)
    assert timer.time_elapsed("train") > 0
    names = set((tmp_path / "lightning_logs/version_0/metrics.csv").read_text().splitlines()[0].split(","))
    assert {"train/reward", "train/reward_by_source/teacher", "val/kl", "lr-SGD"} <= names
    assert any("batches_per_sec" in name for name in names), names
    assert any(name.startswith("DeviceStatsMonitor") for name in names)
    assert len(list(tmp_path.glob("step=*.ckpt"))) == 4


def test_a_rich_progress_bar_shows_the_figures_of_the_run(capsys: pytest.CaptureFixture[str]):
    bar = lightning.RichProgressBar(refresh_rate=1, leave=True)
    trainer = fit(make_module(), callbacks=[bar], enable_progress_bar=True)
    assert trainer.progress_bar_callback is bar
    assert "reward" in bar.get_metrics(trainer, trainer.lightning_module)


def test_a_checkpoint_is_written_when_something_fails(tmp_path: Path):
    class Failing(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 2:
                raise RuntimeError("no more")

    without = Evaluation(max_new_tokens=16, kl=False)
    module, keeper = make_module(evaluation=without), lightning.OnExceptionCheckpoint(tmp_path)
    with pytest.raises(RuntimeError, match="no more"):
        fit(module, Rows(batch_size=1), callbacks=[keeper, Failing()], enable_checkpointing=True)
    trainer = fit(make_module(evaluation=without), Rows(batch_size=1), ckpt_path=str(tmp_path / "on_exception.ckpt"))
    assert trainer.global_step == 4


def test_spike_detection_goes_on(tmp_path: Path):
    without, path = Evaluation(max_new_tokens=16, kl=False), tmp_path / "last.ckpt"
    before, after = lightning.SpikeDetection(rtol=1e6), lightning.SpikeDetection(rtol=1e6)
    fit(make_module(evaluation=without), Rows(batch_size=1), callbacks=[before], max_steps=2).save_checkpoint(path)
    fit(make_module(evaluation=without), Rows(batch_size=1), callbacks=[after], max_steps=3, ckpt_path=str(path))
    assert after.running_mean.compute() != before.running_mean.compute()


class Predictions(lightning.BasePredictionWriter):
    """Remembers rewards."""

    def __init__(self) -> None:
        super().__init__("batch_and_epoch")
        self.seen: list[float] = []

    def write_on_batch_end(self, trainer: Any, pl_module: Any, prediction: Any, *_: Any) -> None:
        self.seen += prediction.rewards.tolist()

    def write_on_epoch_end(self, trainer: Any, pl_module: Any, predictions: Any, batch_indices: Any) -> None:
        assert [reward for batch in predictions for reward in batch.rewards.tolist()] == self.seen


def test_predictions_reach_a_writer():
    class Prompts(Rows):
        def predict_dataloader(self) -> Any:
            return self.train_dataloader()

    writer = Predictions()
    make_trainer(callbacks=[writer]).predict(make_module(), datamodule=Prompts(), return_predictions=False)
    assert len(writer.seen) == 16


def test_no_name_that_is_logged_is_a_folder_of_another():
    sources = {"expert": ExpertSource(), "teacher": TeacherSource(4), "self": SelfSource(2, max_new_tokens=4)}
    module = make_module(sources=sources, evaluation=SHORT)
    names = training_names(module.loss, module.sampler, module.evaluator.correctness(module.sampler.rewards))
    for stage in ("val", "test"):
        names |= evaluation_names(module.evaluator, module.sampler.rewards, stage, ["", "second_skill"])
    assert {"train/reward", "train/reward_by_source/expert", "val/second_skill/kl"} <= names
    folders = {
        "/".join(parts[:length]) for name in names for parts in [name.split("/")] for length in range(1, len(parts))
    }
    assert not names & folders
