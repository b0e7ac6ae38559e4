"""What validation, test and prediction give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import Callback

from lightning_gft import (
    ArithmeticDataModule,
    Evaluation,
    ExactMatchReward,
    ExpertSource,
    GroupBatch,
    ScratchPolicy,
    TeacherSource,
)
from lightning_gft.arithmetic.problems import ARITHMETIC_ALPHABET
from lightning_gft.evaluation import Evaluated
from tests.module.runs import ROWS, Rows, fit, make_module, make_trainer, weights

ACCURACIES = {"greedy_accuracy", "mean@8", "pass@2", "pass@4", "pass@8", "maj@8"}
FIGURES = {*ACCURACIES, *(f"{name}_stderr" for name in ACCURACIES), "response_length", "entropy"}
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48, "initializer_range": 0.3}


def arithmetic(**settings: Any) -> tuple[Any, ArithmeticDataModule]:
    evaluation = Evaluation(max_new_tokens=6, **settings)
    policy = ScratchPolicy(ARITHMETIC_ALPHABET, config=TINY)
    data = ArithmeticDataModule(num_train=4, num_val=5, num_second_skill=3, batch_size=2, eval_batch_size=2)
    sources = {"expert": ExpertSource(), "teacher": TeacherSource(3)}
    return make_module(sources=sources, policy=policy, evaluation=evaluation), data


@pytest.mark.parametrize("stage", ["validate", "test"])
@pytest.mark.parametrize("kl", [True, False])
def test_every_data_set_has_every_figure(stage: str, kl: bool):
    module, data = arithmetic(kl=kl)
    trainer = make_trainer()
    getattr(trainer, stage)(module, datamodule=data, verbose=False)
    figures = FIGURES | ({"kl", "kl_start"} if kl else set())
    name = {"validate": "val", "test": "test"}[stage]
    metrics = trainer.callback_metrics
    figured = set(metrics) - {"step", "epoch"}  # where Lightning puts the row
    assert figured == {f"{name}/{part}{figure}" for part in ("", "second_skill/") for figure in figures}
    if kl:
        assert all(metrics[f"{name}/{part}{kl}"] == 0 for part in ("", "second_skill/") for kl in ("kl", "kl_start"))
    else:
        assert module.policy.reference_model is None


def test_kl_is_measured_from_where_training_started():
    module, data = arithmetic()
    metrics = fit(module, data).callback_metrics
    assert metrics["val/kl"] > 1e-4
    assert metrics["val/kl_start"] > 1e-4
    assert {"train/loss", "val/greedy_accuracy", "val/second_skill/mean@8"} <= set(metrics)


def test_validation_changes_nothing_and_repeats_itself():
    module, data = arithmetic()
    trainer = make_trainer()
    seed_everything(0, verbose=False)
    trainer.validate(module, datamodule=data, verbose=False)
    before, first = weights(module), dict(trainer.callback_metrics)
    trainer.validate(module, datamodule=data, verbose=False)
    torch.testing.assert_close(weights(module), before, rtol=0, atol=0)
    assert dict(trainer.callback_metrics) == first


def test_prediction_gives_scored_groups():
    module = make_module(reward=ExactMatchReward())
    trainer = make_trainer()
    [groups, *rest] = trainer.predict(module, datamodule=Rows(ROWS))
    assert not rest
    assert isinstance(groups, GroupBatch)
    assert len(groups) == 16
    assert groups.responses[:4] == ROWS[0]["teacher"]
    assert groups.rewards.tolist() == [float(t == row["answer"]) for row in ROWS for t in row["teacher"]]


class Kept(Callback):
    """Remembers what it is handed of an evaluation, batch by batch and in the end."""

    def __init__(self) -> None:
        self.batches: dict[str, list[Any]] = {}
        self.evaluated: list[dict[str, list[Any]]] = []

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        self.batches.setdefault(batch.dataset, []).append(outputs)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.evaluated.append(dict(pl_module.evaluator.evaluated))

    on_test_batch_end, on_test_end = on_validation_batch_end, on_validation_end


@pytest.mark.parametrize("stage", ["validate", "test", "fit"])
def test_what_was_drawn_is_kept_for_callbacks_until_the_end(stage: str):
    (module, data), kept = arithmetic(kl=False), Kept()
    trainer = make_trainer(callbacks=[kept])
    getattr(trainer, stage)(module, datamodule=data, **({} if stage == "fit" else {"verbose": False}))
    [evaluated] = kept.evaluated
    assert {name: list(map(id, of)) for name, of in evaluated.items()} == {
        name: list(map(id, of)) for name, of in kept.batches.items()
    }
    assert {name: [len(batch.greedy) for batch in of] for name, of in evaluated.items()} == {
        "": [2, 2, 1],
        "second_skill": [2, 1],
    }
    for batch in (batch for of in evaluated.values() for batch in of):
        assert isinstance(batch, Evaluated)
        assert len(batch.samples) == 8 * len(batch.greedy)
        assert batch.greedy.prompts == batch.samples.prompts[::8]
        assert batch.greedy.input_ids.device.type == "cpu"
    assert module.evaluator.evaluated == {}
    accuracy = [reward.item() for batch in evaluated[""] for reward in batch.greedy.rewards]
    name = "test" if stage == "test" else "val"
    assert trainer.callback_metrics[f"{name}/greedy_accuracy"].item() == pytest.approx(
        sum(reward >= 1 for reward in accuracy) / 5
    )


def test_an_evaluation_that_fails_leaves_nothing_behind():
    class Failing(Callback):
        def on_validation_batch_end(self, *_: Any) -> None:
            raise ValueError("stop here")

    module, data = arithmetic(kl=False)
    with pytest.raises(ValueError, match="stop here"):
        make_trainer(callbacks=[Failing()]).validate(module, datamodule=data, verbose=False)
    trainer, kept = make_trainer(), Kept()
    trainer.callbacks.append(kept)
    trainer.validate(module, datamodule=data, verbose=False)
    assert [len(of) for of in kept.evaluated[0].values()] == [3, 2]
    assert module.evaluator.evaluated == {}
