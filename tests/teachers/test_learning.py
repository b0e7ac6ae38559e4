"""On-policy distillation moves the policy towards its teacher."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch.optim import AdamW

from lightning_gft import (
    DemonstrationTeacher,
    DistillationLoss,
    ExactMatchReward,
    GFTLitModule,
    GroupSampler,
    ModelTeacher,
    Policy,
    PretrainedPolicy,
    SamplingParams,
    SelfSource,
    Teacher,
)
from tests.module.runs import ROWS, Rows, fit
from tests.tiny import tiny_loader, tiny_policy


class Divergence(Callback):
    """Keeps the divergence that each step reports."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.values.append(float(trainer.callback_metrics["train/teacher_kl"]))


def distil(teacher: Teacher, steps: int, **settings: Any) -> tuple[GFTLitModule, list[float]]:
    own = SelfSource(8, max_new_tokens=8, teacher=teacher)
    sampler = GroupSampler({"own": own}, {"accuracy": ExactMatchReward()})
    optimizer = partial(AdamW, lr=1e-2, weight_decay=0.0)
    module = GFTLitModule(tiny_loader(), sampler, DistillationLoss(), optimizer=optimizer, **settings)
    kept = Divergence()
    fit(module, Rows(ROWS * steps), max_steps=steps, callbacks=[kept])
    return module, kept.values


def divergence(policy: Policy, teacher: Policy) -> float:
    """Return the reverse KL per token over the whole vocabulary, on the policy's own samples."""
    total, tokens = 0.0, 0
    for row in ROWS:
        prompt = policy.tokenizer.encode(row["prompt"])
        [responses] = policy.generate([prompt], 16, SamplingParams(max_new_tokens=8), seed=9)
        for response in responses:
            ids = torch.tensor([[*prompt, *response.token_ids]])
            with torch.no_grad():
                own, other = (
                    model.model.eval()(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
                    for model in (policy, teacher)
                )
            total += (own.exp() * (own - other)).sum().item()
            tokens += len(response.token_ids)
    return total / tokens


def test_a_policy_comes_close_to_a_model_that_teaches_it(tmp_path: Path):
    other = tiny_policy(seed=1)
    other.save_pretrained(tmp_path)
    module, reported = distil(ModelTeacher(PretrainedPolicy(str(tmp_path))), steps=30)
    before, after = divergence(tiny_policy(), other), divergence(module.policy, other)
    assert after < 0.5 * before
    assert sum(reported[-5:]) < 0.6 * sum(reported[:5])


@pytest.mark.slow
def test_several_updates_on_a_batch_teach_as_well(tmp_path: Path):
    other = tiny_policy(seed=1)
    other.save_pretrained(tmp_path)
    module, _ = distil(ModelTeacher(PretrainedPolicy(str(tmp_path))), steps=45, updates_per_batch=3)
    assert divergence(module.policy, other) < 0.6 * divergence(tiny_policy(), other)


@pytest.mark.slow
def test_a_policy_comes_close_to_itself_with_the_demonstration_in_view():
    _, reported = distil(DemonstrationTeacher("{demonstration}#{prompt}"), steps=30)
    assert sum(reported[:5]) > 0.5
    assert sum(reported[-5:]) < 0.6 * sum(reported[:5])
