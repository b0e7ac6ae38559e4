"""Options of Lightning's Trainer: those that have another name here, and those that simply work."""

from __future__ import annotations

import warnings

import pytest
import torch

from lightning_gft import Evaluation
from tests.module.runs import ROWS, Rows, fit, make_module


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"gradient_clip_val": 1.0}, "`trainer.gradient_clip_val`: expected None, got 1.0; .*model.gradient_clip_val"),
        ({"gradient_clip_val": 0.0}, "model.gradient_clip_val"),
        ({"gradient_clip_algorithm": "value"}, "`trainer.gradient_clip_algorithm`: expected 'norm', got 'value'"),
        ({"accumulate_grad_batches": 4}, "`trainer.accumulate_grad_batches`: expected 1, got 4; .*micro_batch_tokens"),
    ],
)
def test_option_that_the_module_has_itself_is_refused_by_its_name(option, message):
    with pytest.raises(ValueError, match=message):
        fit(make_module(), **option)


@pytest.mark.parametrize(
    "options",
    [
        {"sync_batchnorm": True},
        {"overfit_batches": 1},
        {"detect_anomaly": True},
        {"profiler": "simple"},
        {"barebones": True},
        {"fast_dev_run": True},
        {"gradient_clip_algorithm": "norm"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_option_works(options):
    quiet = {} if "barebones" in options else {"max_steps": 2}
    module = make_module(evaluation=Evaluation(num_samples=2, max_new_tokens=4, kl=False))
    trainer = fit(module, Rows(val_rows=ROWS), **{**quiet, **options})
    assert trainer.global_step >= 1


@pytest.mark.parametrize(
    ("precision", "capability", "warned"),
    [("bf16-mixed", "AVX2", True), ("bf16-mixed", "AVX512", False), ("32-true", "AVX2", False)],
)
def test_bfloat16_in_software_is_a_warning_before_the_first_step(precision, capability, warned, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(make_module(), precision=precision, max_steps=1, limit_train_batches=0)
    assert any("no instructions for bfloat16" in str(warning.message) for warning in caught) == warned
