"""A whole run as files: its log, configuration and record, as the command line writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_gft.record import ADVICE, WEIGHTS
from lightning_gft.samples import SampledGroup
from tests.report.logged import write_log, write_rows, write_run_json
from tests.report.written import many, write_groups

SOURCES = ("expert", "teacher", "self")
CONFIG: dict[str, Any] = {
    "seed_everything": 0,
    "trainer": {"max_steps": 2000, "precision": "bf16-mixed"},
    "model": {
        "loss": {"class_path": "lightning_gft.GFTLoss", "init_args": {"reduction": "token-mean"}},
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-6}},
    },
}


def record_run(
    folder: Path,
    steps: int = 40,
    groups: Sequence[SampledGroup] | None = None,
    config: Mapping[str, Any] = CONFIG,
    advice: str = "Entropy fell to 0.01; try a lower learning rate or more own samples.",
) -> Path:
    """Write a run below ``folder``, and return that."""
    rows = [{"step": step, **training(step)} for step in range(1, steps + 1)]
    rows += [{"step": step, **validation(step)} for step in range(0, steps + 1, max(1, steps // 10))]
    log = write_log(folder, rows).parent
    (log / "config.yaml").write_text(yaml.safe_dump(dict(config)))
    write_run_json(log)
    write_rows(log, WEIGHTS, ({"step": step, **weights(step)} for step in range(1, steps + 1)))
    figures = {"train/entropy": 0.01}
    write_rows(log, ADVICE, [{"step": steps, "name": "entropy_collapse", "figures": figures, "text": advice}])
    write_groups(log, many(20, tokens=12) if groups is None else groups)
    return folder


def training(step: int) -> dict[str, float]:
    """Return figures of a training step."""
    wave = 0.1 * math.sin(step)
    by_source = {
        f"train/{name}_by_source/{source}": 0.3 + place / 10 + wave
        for name in ("reward", "entropy", "nll", "length", "clipped_ratio", "rectified_fraction")
        for place, source in enumerate(SOURCES)
    }
    return {
        "train/reward": 0.5 + wave,
        "train/entropy": 0.4 - wave,
        "train/grad_norm": 1 + wave,
        "train/loss": wave,
        "train/inverse_probability_max": 10 ** (4 + wave),
        "train/rectified_weight_max": 1.4,
        "train/rectified_weight_max_by_source/expert": 1.4,
        "train/rectified_fraction": 0.2 + wave,
        "train/frac_groups_all_right": 0.2,
        "train/frac_groups_all_wrong": 0.3,
        "train/frac_groups_mixed": 0.5,
        "train/time/rollout": 0.6,
        "train/time/update": 0.3,
        "train/num_tokens": 1e4 * step,
        "train/tokens_per_second": 900.0,
        **by_source,
    }


def validation(step: int) -> dict[str, float]:
    """Return figures of a validation."""
    return {
        "val/greedy_accuracy": 0.4 + step / 1000,
        "val/greedy_accuracy_stderr": 0.013,
        "val/mean@8": 0.3 + step / 1000,
        "val/pass@8": 0.7,
        "val/pass@1": 0.3,
        "val/entropy": 0.3,
        "val/kl": step / 500,
        "val/second_skill/greedy_accuracy": 0.9 - step / 1000,
    }


def weights(step: int) -> dict[str, dict[str, dict[str, int]]]:
    """Return histograms of the weights of a step's tokens."""
    before = {source: {"0": 800, "8": 90, str(16 + place): 9, "80": 1} for place, source in enumerate(SOURCES)}
    return {"before": before, "after": {source: {"0": 895, "3": 5 + step % 2} for source in SOURCES}}
