"""A run, its repetition, and its continuation from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from lightning_gft import (
    AdaptiveCoefficientRectifier,
    ArithmeticDataModule,
    ContinuousCoefficientRectifier,
    Evaluation,
    ExpertSource,
    GFTLitModule,
    GFTLoss,
    SelfSource,
    TeacherSource,
)
from lightning_gft.annealing import Annealing
from lightning_gft.arithmetic.problems import ARITHMETIC_ALPHABET
from lightning_gft.policy import ScratchPolicy
from tests.conftest import quick
from tests.module.runs import ROWS, Rows, fit, make_module, of_the_run, sgd, weights

Finished = tuple[GFTLitModule, dict[str, Tensor]]
"""A module after its run, and what it logged last."""


def module_of_everything() -> GFTLitModule:
    """Return a module whose state is not in its weights alone."""
    return make_module(
        GFTLoss(
            AdaptiveCoefficientRectifier(0.3, momentum=0.5),
            rectify="demonstrations",
            otherwise=ContinuousCoefficientRectifier(Annealing(0.7, 0.1, 20)),
        ),
        {
            "expert": ExpertSource(),
            "teacher": TeacherSource(2),  # of 3: chosen by the seed
            "self": SelfSource(2, max_new_tokens=6),
        },
        ScratchPolicy(
            ARITHMETIC_ALPHABET,
            config={"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48, "initializer_range": 0.3},
        ),
        optimizer=lambda parameters: AdamW(parameters, lr=0.01),
        lr_scheduler=lambda optimizer: LambdaLR(optimizer, lambda step: 1 / (1 + step)),
        evaluation=Evaluation(num_samples=2, max_new_tokens=6),
        updates_per_batch=2,
        micro_batch_tokens=200,
        gradient_clip_val=1.0,
    )


def data() -> ArithmeticDataModule:
    return ArithmeticDataModule(num_train=8, num_val=4, num_second_skill=2, batch_size=2, num_teacher=3)


def run(seed: int = 0, **arguments: Any) -> Finished:
    module = module_of_everything()
    trainer = fit(module, data(), seed=seed, **arguments)
    return module, {k: v for k, v in of_the_run(trainer.callback_metrics).items() if k != "tokens/s"}


@pytest.fixture(scope="module")
def whole() -> Finished:
    return run(max_epochs=2)


def assert_same(actual: Finished, expected: Finished) -> None:
    torch.testing.assert_close(weights(actual[0]), weights(expected[0]), rtol=0, atol=0)
    torch.testing.assert_close(actual[1], expected[1], rtol=0, atol=0)
    for rectifier in ("rectifier", "otherwise"):
        thresholds = [getattr(module.loss, rectifier).threshold for module, _ in (actual, expected)]
        assert thresholds[0] == thresholds[1] != 0.7


def test_the_same_seed_repeats_the_run(whole: Finished):
    again = run(max_epochs=2)
    assert_same(again, whole)
    assert {"train/reward", "train/threshold", "train/otherwise/threshold", "val/mean@2", "val/second_skill/kl"} <= set(
        again[1]
    )
    assert [g.responses for g in again[0].sampler.made] == [g.responses for g in whole[0].sampler.made]


def test_another_seed_is_another_run(whole: Finished):
    module, metrics = run(seed=1, max_epochs=2)
    assert metrics["train/loss"] != whole[1]["train/loss"]
    assert not torch.equal(weights(module)["model.embed_tokens.weight"], weights(whole[0])["model.embed_tokens.weight"])


def test_batches_and_epochs_sample_differently():
    # The same prompt in every batch of every epoch, and a policy that stays as it is.
    module = make_module(sources={"self": SelfSource(4, max_new_tokens=8)}, optimizer=sgd(0.0))
    fit(module, Rows(ROWS[:1] * 3, batch_size=1), max_epochs=2)
    assert len({tuple(groups.responses) for groups in module.sampler.made}) == 6


@pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual optimization", "ignore:Be aware that when using")
@pytest.mark.parametrize("when", quick(["epoch", "middle"], "epoch"))
def test_resuming_is_as_if_never_stopped(when: str, whole: Finished, tmp_path: Path):
    every = {"every_n_epochs": 1} if when == "epoch" else {"every_n_train_steps": 4}
    checkpoint = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, **every)
    stop = {"max_epochs": 1} if when == "epoch" else {"max_epochs": 2, "max_steps": 12}
    run(callbacks=[checkpoint], enable_checkpointing=True, **stop)
    path = tmp_path / f"step={8 if when == 'epoch' else 12}.ckpt"
    assert path.exists()
    torch.manual_seed(99)
    resumed = run(max_epochs=2, ckpt_path=str(path))
    assert len(resumed[0].sampler.made) == (4 if when == "epoch" else 2)
    assert_same(resumed, whole)
    # The reference is the policy as it was before the run, not as it was when the run went on.
    torch.testing.assert_close(
        dict(resumed[0].policy.reference_model.named_parameters()),
        dict(whole[0].policy.reference_model.named_parameters()),
        rtol=0,
        atol=0,
    )


@pytest.mark.parametrize(("kept", "kept_later"), [(True, False), (False, True)])
def test_a_checkpoint_is_read_with_and_without_a_reference(kept: bool, kept_later: bool, tmp_path: Path):
    def module(kl: bool) -> GFTLitModule:
        return make_module(evaluation=Evaluation(num_samples=2, max_new_tokens=4, kl=kl))

    first = module(kept)
    trainer = fit(first)
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    later = module(kept_later)
    fit(later, ckpt_path=str(tmp_path / "end.ckpt"), max_epochs=1)
    torch.testing.assert_close(weights(later), weights(first), rtol=0, atol=0)
    assert (later.policy.reference_model is not None) == kept_later


def test_the_learning_rate_that_was_used_is_logged():
    module = make_module(optimizer=sgd(0.5), lr_scheduler=lambda optimizer: LambdaLR(optimizer, lambda step: 1 - step))
    assert fit(module).callback_metrics["train/learning_rate"] == 0.5
