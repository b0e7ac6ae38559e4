"""Peak memory of a whole training step, ours beside that of TRL's ``GRPOTrainer``.

python -m benchmarks.memory --size tiny --device cpu --method lora --output lora.json

Both load the same files with random weights, draw a group of responses to each prompt, and take an optimizer step, each
in a process of its own.
"""

from __future__ import annotations

import importlib
import sys
import time
import traceback
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import harness
from benchmarks.harness import MIB, StepLog, memory, peak_memory
from benchmarks.job import SHAPES, SIDES, Job, Scores, model_and_workplace, texts

TOLERANCE = 0.05
"""Share by which the numbers of trained tokens may differ."""
_LENGTHS = {"1.5b": (512, 1024), "7b": (512, 1024), "minuscule": (8, 8)}
_LIBRARIES = {"full": (), "lora": ("peft",), "qlora": ("peft", "bitsandbytes")}
"""Not all are imported at once; none shall count as part of the model."""
_COMPARED = ("peak_mib", "added_by_training_mib", "peak_reserved_mib")


def main(args: Sequence[str] | None = None) -> int:
    """Measure both sides, print a table and write the record; return 1 if they cannot be compared."""
    options = harness.command_line(
        *(__doc__, "memory", args),
        **{"size": "tiny", "method": "lora", "prompts": 1, "group_size": 8, "prompt_length": None},
        **{"response_length": None, "rows_per_pass": 1, "steps": 2, "vocab_size": None},
    )
    with model_and_workplace(options) as (model, workplace):
        job = make_job(options, model, workplace)
        results = {side: run_apart(side, job) for side in SIDES}
    refused = difference(results)
    ours, peer = results.values()
    ratios = None if refused else {name: round(ours[name] / peer[name], 3) for name in _COMPARED if peer.get(name)}
    rows = {
        side: {name: value for name, value in row.items() if isinstance(value, int | float)}
        for side, row in results.items()
    }
    harness.print_table(f"{options.size}, {options.method}, {options.device}", {**rows, "ours / TRL": ratios or {}})
    if refused:
        print(f"Not compared: {refused}")
    harness.write_record(options, results=results, ratios=ratios, refused=refused)
    return 1 if refused else 0


def make_job(options: Namespace, model: Path, workplace: Path) -> Job:
    prompt_length, response_length = _LENGTHS.get(options.size, (128, 256))
    prompt_length, response_length = options.prompt_length or prompt_length, options.response_length or response_length
    words = options.vocab_size or SHAPES[options.size][5]
    prompts = texts(options.prompts * options.steps, prompt_length, words)
    rows = [{"prompt": text, "answer": ""} for text in prompts]
    cuda = options.device == "cuda"
    return Job(
        model=model,
        workplace=workplace,
        batches=[rows[start : start + options.prompts] for start in range(0, len(rows), options.prompts)],
        score=Scores(),  # they differ within every group, so no sequence is left out
        group_size=options.group_size,
        response_length=response_length,
        steps=options.steps,
        device=options.device,
        method=options.method,
        dtype="bfloat16" if cuda and options.method != "full" else "float32",  # a CPU is slow in another
        autocast=cuda,
        gradient_checkpointing=True,
        rows_per_pass=options.rows_per_pass,
        micro_batch_tokens=options.rows_per_pass * (prompt_length + response_length),
        optimizer="PagedAdamW8bit" if options.method == "qlora" else "AdamW",
        learning_rate=1e-6 if options.method == "full" else 1e-4,
        seed=options.seed,
    )


class MemoryLog(StepLog):
    """Notes the memory of this process, or of its GPU: before loading, after it, and at its highest.

    On CUDA the highest is that of training alone. That of a process's resident memory cannot be set back, so on a CPU
    it includes loading, and what it had come to by then is noted too.
    """

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self.figures: dict[str, Any] = {"before_loading_mib": memory(device)}
        self._watched = self._at_start = torch.empty(0)
        self._began = 0.0

    def watch(self, model: nn.Module, pad_token_id: int) -> None:
        """Take note that the model is loaded and training is about to start."""
        super().watch(model, pad_token_id)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._watched = trained[-1]  # a norm, or an adapter's second matrix: small, and every step moves it
        self._at_start = self._watched.detach().cpu().clone()
        self.figures |= {
            "trained_parameters": sum(parameter.numel() for parameter in trained),
            "trained_dtypes": _dtypes(trained),
            "peak_of_loading_mib": peak_memory(self.device),
        }
        if self.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        self.figures["loaded_mib"] = memory(self.device)
        self._began = time.perf_counter()

    def passed(self, tokens: int, padding: int) -> None:
        """Take note that sampling has ended, with the first pass."""
        self.figures.setdefault("peak_of_first_sampling_mib", peak_memory(self.device))
        super().passed(tokens, padding)

    def finish(self, sequences: int) -> dict[str, Any]:
        """Return all figures of a training with so many sequences a step.

        Raises:
            RuntimeError: If training changed nothing, so that nothing was measured.
        """
        if torch.equal(self._watched.detach().cpu(), self._at_start):
            raise RuntimeError("the weights are what they were before training")
        peak = peak_memory(self.device)
        self.figures |= {
            "peak_mib": peak,
            "added_by_training_mib": peak - self.figures["loaded_mib"],
            "trained_tokens": round(sequences * sum(step["completions/mean_length"] for step in self.steps)),
            "seconds": time.perf_counter() - self._began,
        }
        if self.device == "cuda":
            self.figures["peak_reserved_mib"] = torch.cuda.max_memory_reserved() / MIB
        return {name: round(value, 1) if isinstance(value, float) else value for name, value in self.figures.items()}


def run_apart(side: str, job: Job) -> dict[str, Any]:
    """Train one side in a fresh process and return what was measured."""
    try:
        measured: dict[str, Any] = harness.apart(run, side, job)
    except BrokenProcessPool as error:  # killed, for want of memory as a rule
        return {"error": f"{error}"}
    return measured


def run(side: str, job: Job) -> dict[str, Any]:
    """Train one side in this process; a side that cannot run says why: that is a result too."""
    settings: dict[str, Any] = {}
    try:
        library = importlib.import_module(SIDES[side])
        settings = library.settings(job)
        for name in _LIBRARIES[job.method]:
            importlib.import_module(name)
        log = MemoryLog(job.device)
        library.train(job, log)
        return {"settings": settings, **log.finish(len(job.batches[0]) * job.group_size)}
    except Exception as error:  # noqa: BLE001 (whatever keeps it from running)
        traceback.print_exc()
        return {"settings": settings, "error": f"{type(error).__name__}: {error}".splitlines()[0]}


def difference(results: dict[str, dict[str, Any]]) -> str | None:
    """Return why two sides cannot be compared, if they cannot."""
    for name, side in results.items():
        if "error" in side:
            return f"{name} did not run: {side['error']}"
    for what, tolerance in (("trained_parameters", 0.0), ("trained_tokens", TOLERANCE)):
        counts = [side[what] for side in results.values()]
        if max(counts) - min(counts) > tolerance * max(counts):
            return f"{what}: {counts}"
    return None


def _dtypes(parameters: Iterable[Tensor]) -> dict[str, int]:
    """Count elements by data type; 4-bit weights are packed, two in an element of uint8."""
    counts: Counter[str] = Counter()
    for parameter in parameters:
        counts[str(parameter.dtype).removeprefix("torch.")] += parameter.numel()
    return dict(counts)


if __name__ == "__main__":
    sys.exit(main())
