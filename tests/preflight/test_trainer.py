"""Options of Lightning's Trainer: those that have another name here, and those that simply work."""

from __future__ import annotations

import warnings
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch

from lightning_gft import Evaluation
from lightning_gft.preflight.trainer import check_precision
from tests.conftest import quick
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


SHORT = Evaluation(num_samples=2, max_new_tokens=4, kl=False)


def test_float16_is_refused():
    with pytest.raises(ValueError, match=r"`trainer\.precision`: expected 32-true or bf16-mixed, got '16-true'"):
        fit(make_module(), precision="16-true")
    on_a_gpu = SimpleNamespace(precision="16-mixed")  # on a CPU Lightning itself takes bf16-mixed, with a warning
    with pytest.raises(ValueError, match="got '16-mixed'"):
        check_precision(on_a_gpu)


OPTIONS = {
    "sync_batchnorm": {"sync_batchnorm": True},
    "overfit_batches": {"overfit_batches": 1},
    "detect_anomaly": {"detect_anomaly": True},
    "profiler": {"profiler": "simple"},
    "advanced": {"profiler": "advanced"},
    "pytorch": {"profiler": "pytorch"},
    "barebones": {"barebones": True},
    "fast_dev_run": {"fast_dev_run": True},
    "norm": {"gradient_clip_algorithm": "norm"},
    "deterministic": {"deterministic": "warn", "benchmark": False, "inference_mode": False},
    "limits": {"num_sanity_val_steps": 2, "limit_train_batches": 1, "limit_val_batches": 1, "max_epochs": 2},
    "reload": {"reload_dataloaders_every_n_epochs": 1, "max_epochs": 2, "check_val_every_n_epoch": 2},
    "least": {"use_distributed_sampler": False, "enable_autolog_hparams": False, "min_steps": 2, "min_epochs": 1},
}


@pytest.mark.parametrize(
    "name", quick(OPTIONS, "overfit_batches", "detect_anomaly", "profiler", "barebones", "fast_dev_run")
)
def test_option_works(name, tmp_path):
    options = OPTIONS[name]
    quiet = {} if "barebones" in options else {"max_steps": 2, "default_root_dir": tmp_path}
    trainer = fit(make_module(evaluation=SHORT), Rows(val_rows=ROWS), **{**quiet, **options})
    torch.use_deterministic_algorithms(False)
    assert trainer.global_step >= 1


def test_a_run_whose_time_is_over_ends_after_its_step():
    trainer = fit(make_module(evaluation=SHORT), Rows(batch_size=1), max_time=timedelta(microseconds=1), max_epochs=-1)
    assert trainer.global_step == 1


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
