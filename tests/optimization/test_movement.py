"""Whether half-precision weights move, measured."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from lightning_gft import LoRA, WarmupSchedule
from lightning_gft.optimization.movement import MovementProbe, WeightSample
from tests.module.runs import Rows, fit, make_module
from tests.tiny import tiny_loader


def told(lr: float, steps: int = 4, lora: LoRA | None = None, **settings: Any) -> list[str]:
    """Return what a run of one batch a step warns of lost updates."""
    loader = tiny_loader()
    loader.lora = lora
    schedule = settings.pop("lr_scheduler", None)
    module = make_module(
        policy=loader, optimizer=lambda weights: AdamW(weights, lr=lr, weight_decay=0.0), lr_scheduler=schedule
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(module, Rows(batch_size=1), max_steps=steps, **settings)
    return [text for one in caught if "rounded away" in (text := str(one.message))]


def test_updates_that_are_rounded_away_are_told_once_with_their_share():
    (text,) = told(1e-6, precision="bf16-true")
    assert text.startswith(
        "model.policy: trainable weights are in bfloat16, and step 2 with learning rate 1e-06 changed "
    )
    share = float(text.split("changed ")[1].split("%")[0])
    assert 0 <= share < 5
    assert text.endswith("Set torch_dtype: float32 with trainer.precision: bf16-mixed, or a larger learning rate")


def test_a_run_of_one_step_is_told_too():
    assert len(told(1e-6, steps=1, precision="bf16-true")) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": 1e-6},
        {"lr": 1e-6, "precision": "bf16-mixed"},
        {"lr": 0.03, "precision": "bf16-true"},
        {"lr": 0.0, "precision": "bf16-true"},
        {"lr": 1e-6, "precision": "bf16-mixed", "lora": LoRA(r=2)},
        {"lr": 0.03, "precision": "bf16-true", "lr_scheduler": WarmupSchedule("constant", 3)},
    ],
)
def test_no_false_alarm(settings: dict[str, Any]):
    assert told(**settings) == []


def test_during_a_warm_up_nothing_is_judged():
    (text,) = told(1e-6, steps=4, precision="bf16-true", lr_scheduler=WarmupSchedule("constant", 2))
    assert "step 4 with learning rate 1e-06" in text


def test_share_is_of_values_with_a_gradient():
    moved, stuck, idle, without = (nn.Parameter(torch.ones(600, dtype=torch.bfloat16)) for _ in range(4))
    single = nn.Parameter(torch.ones(600))
    for weight in (moved, stuck, single):
        weight.grad = torch.ones_like(weight)
    idle.grad = torch.zeros_like(idle)
    probe, sample = MovementProbe([single, moved]), WeightSample([moved, stuck, idle, without, single])
    with torch.no_grad():
        moved -= 0.1
        single -= 0.1
    assert sample.moved().tolist() == [600, 1200]
    assert (probe.measures(0.1), probe.measures(0.0), MovementProbe([single]).measures(0.1)) == (True, False, False)


def test_change_is_exact_where_all_is_sampled():
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(*shape)) for shape in ((70, 100), (8000,), (1,))]
    before = [weight.detach().clone() for weight in weights]
    sample = WeightSample(weights)
    with torch.no_grad():
        for weight in weights:
            weight += 0.1 * torch.randn_like(weight)
    pairs = [(weight.double(), old.double()) for weight, old in zip(weights, before, strict=True)]
    expected = [sum((new - old).square().sum() for new, old in pairs), sum(old.square().sum() for _, old in pairs)]
    assert torch.allclose(sample.change().double(), torch.stack(expected))


def test_change_of_large_weights_is_estimated_from_all_of_their_columns():
    """One column has most of the change; a stride that divides the row's length would meet it always or never."""
    torch.manual_seed(0)
    weight, small = nn.Parameter(torch.randn(4096, 64)), nn.Parameter(torch.randn(64))
    sample = WeightSample([weight, small])
    change = 0.01 * torch.randn(4096, 64)
    change[:, 0] *= 30
    squares = weight.detach().square().sum() + small.detach().square().sum()
    with torch.no_grad():
        weight += change
    assert len(sample._before) < 9000
    assert torch.allclose(sample.change(), torch.stack([change.square().sum(), squares]), rtol=0.15)
