"""The correction for the sampling policy in runs: all updates on a batch use the weights of the first."""

from __future__ import annotations

import copy
from typing import Any, Literal
from unittest.mock import patch

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from lightning_gft import (
    Evaluation,
    ExpertSource,
    GRPOLoss,
    ImportanceCorrection,
    Policy,
    SelfSource,
    TransformersEngine,
)
from lightning_gft.losses.correction import Level
from lightning_gft.types import Response, TokenBatch
from tests.module.runs import Passes, Rows, fit, make_module, sgd
from tests.tiny import tiny_loader

PREFIX = "sampling/importance_sampling_ratio"
LEVELS: list[Level] = ["token", "sequence"]


class DrawnByAnother(TransformersEngine):
    """Draws from somewhat other weights than the policy's, and gives their log-probabilities."""

    def generate(self, model: Any, *args: Any, **kwargs: Any) -> list[list[Response]]:
        other, generator = copy.deepcopy(model), torch.Generator().manual_seed(0)
        for weight in other.parameters():
            weight.data += 0.02 * torch.randn(weight.shape, generator=generator)
        return super().generate(other, *args, **kwargs)


class Heard(ImportanceCorrection):
    """Records the inputs and the counts of each update."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.asked: list[TokenBatch] = []
        self.counted: list[tuple[TokenBatch, Tensor]] = []

    def coefficients(self, tokens: TokenBatch) -> Tensor:
        self.asked.append(tokens)
        return super().coefficients(tokens)

    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        super().update(tokens, coefficients)
        self.counted.append((tokens, coefficients))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("head", ["fused", "of the model"])
def test_in_a_run_all_updates_on_a_batch_have_the_weights_of_its_first(
    level: Level, head: Literal["fused", "of the model"]
):
    loader = tiny_loader("gpt2")
    loader.rollout = DrawnByAnother()
    loss, passes = Heard(GRPOLoss(epsilon=1e9), level, 2.0), Passes()
    sources = {"expert": ExpertSource(), "own": SelfSource(3, max_new_tokens=6)}
    module = make_module(
        loss,
        sources,
        policy=loader,
        evaluation=Evaluation(max_new_tokens=16, kl=False),
        updates_per_batch=3,
        micro_batch_tokens=40,
        optimizer=sgd(0.01),
    )
    bodies: list[bool] = []

    class Watched(Callback):
        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
            policy = pl_module.policy
            policy.head = policy.head if head == "fused" else None
            policy.model.base_model.register_forward_hook(lambda *_: bodies.append(torch.is_grad_enabled()))

    with patch.object(Policy, "score", side_effect=AssertionError("one more forward")):
        trainer = fit(module, Rows(batch_size=4), callbacks=[passes, Watched()])
    assert bodies.count(True) == len(passes.sizes)  # the model itself runs once a micro-batch
    first = loss.counted[0][0]
    for tokens, coefficients in loss.counted:
        weights = (first.logprobs - first.sampling_logprobs).exp()
        if level == "sequence":
            weights = torch.stack([weights[tokens.sequence == n].prod() for n in tokens.sequence.tolist()])
        expected = tokens.advantages * (tokens.logprobs - first.logprobs).exp() * weights.clamp(max=2.0)
        torch.testing.assert_close(coefficients, expected.to(coefficients.dtype), rtol=1e-3, atol=1e-5)
    assert (coefficients - tokens.advantages).abs().max() > 0.05
    figures = trainer.callback_metrics
    assert 0 < figures[f"train/{PREFIX}/truncated_fraction"] < 1
    assert figures[f"train/{PREFIX}/unknown_fraction"] == 0
    assert figures["train/rectified_fraction_by_source/self"] > 0  # the ratio, not the weight
