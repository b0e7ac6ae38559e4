"""Records a run's evaluations, line by line, so that a run that breaks keeps what it had."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from typing_extensions import override

from benchmarks.study.lines import append
from benchmarks.study.plan import PlanError
from lightning_gft import GFTLitModule

FILE = "evaluations.jsonl"

_LARGEST = {
    "grad_norm_max": "grad_norm",
    "weight_max": "rectified_weight_max",
    "expert_weight_max": "rectified_weight_max_by_source/expert",
    "nonfinite": "nonfinite_updates",
}
_MEANS = {
    "grad_norm": "grad_norm",
    "train_reward": "reward_by_source/self",
    "train_entropy": "entropy",
    "rectified_fraction": "rectified_fraction",
    "flat_groups": "frac_reward_zero_std",
}
"""Figures of the training steps since the evaluation before, by their names in a row."""

_MEASURED = "greedy_accuracy"
"""A figure of each data set in each evaluation."""

_SAMPLES = re.compile(r"\b(mean|maj)@\d+")


class Recorder(Callback):
    """Writes a line of JSON for each evaluation, with what training has cost until then.

    Seconds are those of training steps alone, by the clock and by the processor; evaluations are left out.

    Args:
        folder: Folder of the run.
        trained: Data set whose figures are written without its name.
    """

    def __init__(self, folder: Path, trained: str = "") -> None:
        self.path, self.trained = folder / FILE, trained
        self.seconds = self.processor_seconds = 0.0
        self.sequences = self.tokens = 0
        self._steps: list[dict[str, float]] = []
        self._began = (0.0, 0.0)

    @override
    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        self._began = time.perf_counter(), time.process_time()

    @override
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: Any) -> None:
        self.seconds += time.perf_counter() - self._began[0]
        self.processor_seconds += time.process_time() - self._began[1]
        self.sequences += len(outputs["groups"]) * _gft(pl_module).updates_per_batch
        latest = {name.removeprefix("train/"): float(value) for name, value in _gft(pl_module).rows.latest.items()}
        self.tokens = int(latest.get("num_tokens", 0))
        self._steps.append(latest)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write("val", trainer, _gft(pl_module))

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write("test", trainer, _gft(pl_module))

    def _write(self, split: str, trainer: Trainer, module: GFTLitModule) -> None:
        fitting = trainer.state.fn == TrainerFn.FITTING
        logged = module.rows.latest if fitting else trainer.callback_metrics
        row = {
            "split": split,
            "step": module.run.steps(),
            "sequences": self.sequences,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "processor_seconds": self.processor_seconds,
            **self._of_training(),
            **columns({name: float(value) for name, value in logged.items()}, split, self.trained),
        }
        append(self.path, row)

    def _of_training(self) -> dict[str, float]:
        steps, self._steps = self._steps, []
        figures: dict[str, float] = {}
        for names, summarise in ((_LARGEST, max), (_MEANS, fmean)):
            for row, name in names.items():
                values = [step[name] for step in steps if math.isfinite(step.get(name, math.nan))]
                figures |= {row: summarise(values)} if values else {}
        return figures


def _gft(module: LightningModule) -> GFTLitModule:
    assert isinstance(module, GFTLitModule)  # noqa: S101 (the command line makes no other)
    return module


def columns(logged: Mapping[str, float], split: str, trained: str = "") -> dict[str, float]:
    """Return the figures of an evaluation by their names in a row.

    Estimates of the same thing have one name, however many samples they take.

    Args:
        logged: All figures as they are logged.
        split: The evaluation's.
        trained: Data set whose name is left out.

    Raises:
        PlanError: If there is no such data set, or several and none is named.
    """
    figures = {name.removeprefix(f"{split}/"): value for name, value in logged.items() if name.startswith(f"{split}/")}
    row = {_SAMPLES.sub(r"\1", name.removeprefix(f"{trained}/")): value for name, value in figures.items()}
    if _MEASURED not in row:
        found = sorted(name.removesuffix(f"/{_MEASURED}") for name in row if name.endswith(f"/{_MEASURED}"))
        raise PlanError(f"`trained`: expected one of {', '.join(found)}, got {trained or 'none'}; name the data set")
    return row
