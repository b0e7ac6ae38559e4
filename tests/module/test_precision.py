"""Half precision holds the weights and activations, and neither rewards nor counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lightning_gft import AdaptiveCoefficientRectifier, GFTLoss, RewardAdvantage, SFTLoss
from tests.module.runs import ROWS, Rows, fit, make_module, weights

# More tokens than half precision can count one by one.
LONG = [{**ROWS[0], "teacher": ["1" * 150, "2" * 160, "3" * 171, "7" * 140]}, ROWS[1]]


def run(precision: str, loss: Any, updates: int = 1) -> Any:
    module = make_module(loss, advantage=RewardAdvantage(), updates_per_batch=updates)
    return module, fit(module, Rows(LONG), precision=precision).callback_metrics


@pytest.mark.parametrize("loss", [GFTLoss, SFTLoss])
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_half_precision_is_close_to_single(precision: str, loss: type):
    (module, figures), (_, expected) = run(precision, loss()), run("32-true", loss())
    stored = torch.bfloat16 if precision == "bf16-true" else torch.float32
    assert {value.dtype for value in weights(module).values()} == {stored}
    for name in ("train/loss", "train/grad_norm", "train/entropy"):
        assert figures[name].item() == pytest.approx(expected[name].item(), rel=0.03), name
    for name in ("train/reward", "train/reward_std", "train/num_tokens", "train/rewards/score/mean"):
        assert figures[name].item() == pytest.approx(expected[name].item(), rel=1e-6), name


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_validation_runs_in_every_precision(precision: str):
    module = make_module()
    metrics = fit(module, Rows(val_rows=ROWS), precision=precision).callback_metrics
    assert metrics["val/kl"].isfinite()
    assert metrics["val/greedy_accuracy"].isfinite()


def test_an_adaptive_threshold_keeps_its_precision():
    thresholds = []
    for precision in ("32-true", "bf16-true"):
        module = make_module(GFTLoss(AdaptiveCoefficientRectifier(0.3)))
        fit(module, precision=precision)
        thresholds.append(module.loss.rectifier.threshold)
    assert thresholds[1].dtype == torch.float64
    assert thresholds[1].item() == pytest.approx(thresholds[0].item(), rel=0.1)
