"""Runs that nothing has trained, for tables and pictures: curves that rise, forget and collapse like real ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.study.choice import choose
from benchmarks.study.outcome import Outcome, read
from benchmarks.study.plan import Method, Plan, Run
from benchmarks.study.results import Results

# By method: what it gains, how fast, the divergence it pays, what it forgets for that, and seconds an update.
CHARACTERS = {
    "sft": ("SFT", 0.50, 2.6, 0.10, 6.0, 0.1),
    "dft": ("DFT", 0.42, 1.6, 0.06, 4.0, 0.1),
    "rft": ("RFT", 0.33, 1.0, 0.03, 2.5, 0.4),
    "grpo": ("GRPO", 0.49, 1.2, 0.045, 1.0, 0.5),
    "gft": ("GFT", 0.35, 1.1, 0.03, 1.0, 0.5),
    "best": ("GFT, own samples free", 0.51, 1.5, 0.04, 0.9, 0.5),
    "psft": ("PSFT", 0.46, 2.2, 0.08, 4.5, 0.1),
    "luffy": ("LUFFY", 0.44, 1.3, 0.05, 2.0, 0.5),
    "chord": ("CHORD", 0.46, 1.4, 0.055, 2.4, 0.5),
}
HIGHLIGHTED = ("sft", "dft", "rft", "grpo", "gft", "best")
RATES = (3e-5, 1e-4, 3e-4, 1e-3)


def plan_of(methods: tuple[str, ...] = (*CHARACTERS,), **given: Any) -> Plan:
    settings: dict[str, Any] = {
        "name": "main",
        "base": {"trainer": {"accelerator": "cpu"}},
        "variants": {"": {}},
        "sequences": 128,
        "updates": 600,
        "evaluations": 10,
        "learning_rates": RATES,
        "tuning_seeds": (100, 101),
        "seeds": (0, 1, 2, 3, 4),
        "reference": "grpo",
        "highlighted": tuple(name for name in HIGHLIGHTED if name in methods),
        "methods": {name: Method(name, 8, layers=({"name": name},), label=CHARACTERS[name][0]) for name in methods},
    }
    return Plan(**{**settings, **given})


def outcome_of(plan: Plan, path: Path, failing: tuple[str, float, int] | None = ("sft", 1e-3, 100)) -> Outcome:
    """Write the runs of a plan and read what they came to.

    Args:
        plan: The plan.
        path: Parquet file to write.
        failing: Method, learning rate and seed of a run that fails half-way; a rate of 0 stands for the chosen one.
    """
    rows = [row for run in plan.tuning() for row in rows_of(run, plan, failing)]
    if rows:
        pd.DataFrame(rows).to_parquet(path)
    choices = choose(plan, Results(path))
    rows += [row for run in plan.final(choices) for row in rows_of(run, plan, failing)]
    pd.DataFrame(rows).to_parquet(path)
    return read(plan, Results(path))


def rows_of(run: Run, plan: Plan, failing: tuple[str, float, int] | None) -> Iterator[dict[str, Any]]:
    """Yield a run's validations and its test; a run that fails ends half-way, without a test."""
    fails = failing is not None and (run.method, run.seed) == failing[::2] and failing[1] in (0, run.learning_rate)
    steps = [*range(0, plan.updates + 1, plan.updates // plan.evaluations)]
    draw = np.random.default_rng([run.seed, *run.method.encode(), round(-1e3 * math.log(run.learning_rate))])
    bias = draw.normal(0, 0.01)
    about = {"run": run.fingerprint, "status": "failed" if fails else "finished", "error": "took too long" * fails}
    for step in steps[: len(steps) // 2] if fails else steps:
        yield {**about, "split": "val", **_at(run, plan, step, bias, draw)}
    if not fails:
        end = {**_at(run, plan, plan.updates, bias, draw), "grad_norm_max": math.nan, "weight_max": math.nan}
        yield {**about, "split": "test", **end, "pass@64": min(1.0, end["pass@8"] + 0.005)}


def _at(run: Run, plan: Plan, step: int, bias: float, draw: np.random.Generator) -> dict[str, float]:
    _, gain, speed, divergence, forgetting, seconds = CHARACTERS[run.method]
    strength = run.learning_rate / 1e-4
    way = 1 - math.exp(-speed * step / plan.updates * 2 * strength**0.6)
    too_far = max(0.0, math.log10(strength * step / plan.updates + 1e-9) - 0.25) * forgetting**0.5
    kl = divergence * way * (0.7 + 0.3 * strength**0.5) * (1 + 4 * too_far)
    mean = 0.40 + gain * way - 0.25 * too_far + (bias + draw.normal(0, 0.006) if step else 0)
    second = 0.97 - 0.97 * (1 - math.exp(-2.2 * (forgetting * kl) ** 1.3)) + draw.normal(0, 0.008)
    return {
        "step": step,
        "sequences": step * plan.sequences,
        "tokens": step * plan.sequences * 22,
        "seconds": step * seconds * 1.7,
        "processor_seconds": step * seconds * (1 + draw.normal(0, 0.01)),
        "greedy_accuracy": min(1.0, 0.97 - 0.05 * too_far + draw.normal(0, 0.005)),
        "mean": min(1.0, max(0.0, mean)),
        "pass@8": min(1.0, 0.995 - 0.1 * kl + draw.normal(0, 0.003)),
        "entropy": max(0.0, 0.142 - 0.12 * way + draw.normal(0, 0.002)),
        "kl": max(0.0, kl * (1 + draw.normal(0, 0.04))),
        "kl_start": max(0.0, kl * 1.4 * forgetting**0.4 * (1 + draw.normal(0, 0.04))),
        "second_skill/greedy_accuracy": min(1.0, max(0.0, second)),
        "grad_norm_max": (0.1 + 0.05 * forgetting) * (1 + too_far) if step else math.nan,
        "weight_max": (1.4 if "gft" in run.method else 20 * strength) if step else math.nan,
    }
