"""That all of it together learns."""

from __future__ import annotations

from typing import Any

import pytest
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim import AdamW

from lightning_gft import (
    ContinuousCoefficientRectifier,
    DynamicCoefficientRectifier,
    Evaluation,
    ExactMatchReward,
    ExpertSource,
    GFTLitModule,
    GFTLoss,
    SelfSource,
    SFTLoss,
)
from tests.conftest import quick
from tests.module.runs import Rows, fit, make_module
from tests.tiny import tiny_loader

RECTIFIERS = (DynamicCoefficientRectifier, ContinuousCoefficientRectifier)
ANSWERS = {"a=": "12", "b=": "3", "c=": "-45", "d=": "7"}
EXPERT = [{"prompt": prompt, "answer": answer, "expert": answer} for prompt, answer in ANSWERS.items()]
SAME_FOR_ALL = [{"prompt": prompt, "answer": "-45", "expert": "-45"} for prompt in ANSWERS]


class Curve(Callback):
    """Remembers one figure of each batch."""

    def __init__(self, name: str) -> None:
        self.name, self.values = name, list[float]()

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.values.append(trainer.callback_metrics[self.name].item())


def learner(loss: Any, sources: dict[str, Any], lr: float) -> GFTLitModule:
    return make_module(
        loss,
        sources,
        tiny_loader(initializer_range=0.05),
        reward=ExactMatchReward(),
        optimizer=lambda parameters: AdamW(parameters, lr=lr),
        evaluation=Evaluation(num_samples=4, max_new_tokens=4),
        gradient_clip_val=1.0,
    )


def test_sft_memorises():
    curve = Curve("train/loss")
    module = learner(SFTLoss(), {"expert": ExpertSource()}, lr=0.01)
    trainer = fit(module, Rows(EXPERT, EXPERT), max_epochs=60, check_val_every_n_epoch=60, callbacks=[curve])
    assert curve.values[0] > 2
    assert curve.values[-1] < 0.02
    metrics = trainer.callback_metrics
    assert metrics["val/greedy_accuracy"] == metrics["val/pass@4"] == 1
    assert metrics["val/mean@4"] > 0.9
    assert metrics["val/kl"] > 1


@pytest.fixture(scope="module")
def guessing() -> dict[str, Tensor]:
    """Weights of a policy fitted to every answer for every prompt: it knows the answers but not which is right."""
    guesses = [{**row, "expert": list(ANSWERS.values())} for row in EXPERT]
    module = learner(SFTLoss(), {"expert": ExpertSource(4)}, lr=0.01)
    fit(module, Rows(guesses), max_epochs=30)
    return {name: value.clone() for name, value in module.policy.model.state_dict().items()}


@pytest.mark.parametrize("rectifier", quick(RECTIFIERS, DynamicCoefficientRectifier))
@pytest.mark.parametrize("with_expert", [True, False])
def test_gft_raises_the_reward_of_a_policy_that_guesses(rectifier: Any, with_expert: bool, guessing: dict[str, Tensor]):
    sources: dict[str, Any] = {"self": SelfSource(8, max_new_tokens=4)}
    if with_expert:
        sources["expert"] = ExpertSource()
    curve = Curve("train/reward_by_source/self")
    tuned = learner(GFTLoss(rectifier(0.7)), sources, lr=0.003)
    tuned.configure_model()
    tuned.policy.model.load_state_dict(guessing)
    fit(tuned, Rows(SAME_FOR_ALL), max_epochs=30, callbacks=[curve])
    first, last = (sum(values) / 5 for values in (curve.values[:5], curve.values[-5:]))
    assert 0.1 < first < 0.5
    assert last > 0.8
