"""Whether half-precision weights move, measured."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from lightning_gft import LoRA, WarmupSchedule
from lightning_gft.optimization.movement import MovementProbe
from tests.conftest import tiny_loader
from tests.module.runs import Rows, fit, make_module


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
        "model.policy: weights that train are in bfloat16, and step 2 with learning rate 1e-06 changed "
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
    moved, stuck, idle = (nn.Parameter(torch.ones(600, dtype=torch.bfloat16)) for _ in range(3))
    single = nn.Parameter(torch.ones(600))
    for weight in (moved, stuck, single):
        weight.grad = torch.ones_like(weight)
    idle.grad = torch.zeros_like(idle)
    probe = MovementProbe([moved, stuck, idle, single])
    samples = probe.sample(0.1)
    assert samples is not None
    with torch.no_grad():
        moved -= 0.1
        single -= 0.1
    assert probe.count(samples).tolist() == [300, 600]
    assert probe.sample(0.0) is None
