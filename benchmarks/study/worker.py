"""One run in a process of its own: the package's command line, with a test on many samples at the end."""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import replace
from pathlib import Path

import torch
import yaml
from typing_extensions import override

from benchmarks.study.lines import append
from benchmarks.study.plan import Run
from benchmarks.study.recorder import Recorder
from lightning_gft.cli import GFTCLI
from lightning_gft.evaluation import Evaluator

RESULT = "result.jsonl"


class StudyCLI(GFTCLI):
    """The command line of a run, whose policy is measured before training, and on the test set after it.

    Args:
        args: Arguments of ``lightning-gft``.
        recorder: Writes down what is measured.
        final_samples: Samples a prompt of the test.
    """

    def __init__(self, args: list[str], recorder: Recorder, final_samples: int) -> None:
        self.recorder, self.final_samples = recorder, final_samples
        super().__init__(args)

    def before_fit(self) -> None:
        """Measure the policy as it is loaded."""
        self.trainer.callbacks.append(self.recorder)  # type: ignore[attr-defined]
        self.trainer.validate(self.model, self.datamodule, verbose=False)

    @override
    def after_fit(self) -> None:
        if (steps := self.model.run.steps()) < self.trainer.max_steps:
            raise RuntimeError(f"stopped after update {steps} of {self.trainer.max_steps}")
        settings = replace(self.model.evaluator.settings, num_samples=self.final_samples)
        self.model.evaluator = Evaluator(settings)
        self.trainer.test(self.model, self.datamodule, verbose=False)


def work(run: Run, folder: Path, threads: int) -> None:
    """Train, and write evaluations and how the run ended into a folder.

    Args:
        run: The run.
        folder: Empty folder of this run.
        threads: Threads of torch.
    """
    log = (folder / "log").open("w", buffering=1)
    os.dup2(log.fileno(), sys.stdout.fileno())
    os.dup2(log.fileno(), sys.stderr.fileno())
    torch.set_num_threads(threads)
    try:
        StudyCLI(arguments(run, folder), Recorder(folder, run.trained), run.final_samples)
    except BaseException as error:  # noqa: BLE001 (however it ends, the row says so)
        append(folder / RESULT, {"status": "failed", "error": one_line(error)})
        traceback.print_exc()
        raise SystemExit(1) from None
    append(folder / RESULT, {"status": "finished", "error": ""})


def arguments(run: Run, folder: Path) -> list[str]:
    """Write the layers of a run as files, and return the arguments of ``lightning-gft``."""
    args = ["fit"]
    for number, layer in enumerate(run.layers):
        path = folder / f"{number}.yaml"
        path.write_text(yaml.safe_dump(layer, sort_keys=False))
        args += ["--config", str(path)]
    return [*args, "--trainer.default_root_dir", str(folder)]


def one_line(error: BaseException) -> str:
    """Return an error in one line of at most 300 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
