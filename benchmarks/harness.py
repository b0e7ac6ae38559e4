"""What every benchmark shares: command line, timed turns, memory, table and record."""

from __future__ import annotations

import argparse
import gc
import json
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.revision import commit

MIB = 2**20
_LIBRARIES = (
    *("torch", "transformers", "lightning", "lightning-gft"),
    *("trl", "peft", "bitsandbytes", "accelerate", "liger-kernel", "triton"),
)
_HELP = {
    "flat_share": "share of groups with advantages of 0",
    "group_size": "responses a prompt",
    "mean_response": "tokens; responses have 1 to nearly twice as many",
    "method": "what trains: all weights, adapters of rank 16, or these on nf4 weights",
    "output": "JSON file for the record",
    "prompts": "prompts a step, over all processes",
    "ragged": "prompts differ in length, and responses end by chance, half of them early",
    "rounds": "how often each has its turn",
    "rows_per_pass": "sequences that run through the model at once with gradient; of a time, the peers'",
    "size": "architecture with random weights; 1.5b and 7b are Qwen2.5's, arithmetic is the package's own policy",
    "steps": "steps of a turn that count",
    "tokens": "tokens that carry a gradient",
    "updates_per_batch": "optimizer steps on the responses of a step; TRL's num_iterations",
    "warmup": "steps of a turn before these",
}
_CHOICES = {
    "device": ("cpu", "cuda"),
    "dtype": ("float32", "bfloat16"),
    "method": ("full", "lora", "qlora"),
    "size": ("minuscule", "tiny", "small", "1.5b", "7b"),
}


def command_line(doc: str, script: str, args: Sequence[str] | None, **defaults: Any) -> argparse.Namespace:
    """Parse an option for each default, and what every script takes.

    A default of ``None`` follows from other options; of a tuple the first is the default, the rest are further choices.
    """
    formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(description=doc.splitlines()[0], formatter_class=formatter)
    for name, given in {"device": "cpu", "seed": 0, "output": Path(), **defaults}.items():
        default, *more = given if isinstance(given, tuple) else (given,)
        how: dict[str, Any] = {"type": int if default is None else type(default), "default": default}
        if name in _CHOICES:
            how |= {"choices": (*_CHOICES[name], *more), "type": str}
        elif isinstance(default, list):
            how |= {"type": int, "nargs": "+"}
        elif default is False:
            how = {"action": "store_true"}
        parser.add_argument(f"--{name.replace('_', '-')}", help=_HELP.get(name, name.replace("_", " ")), **how)
    options = parser.parse_args(args)
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("`--device`: expected a CUDA device, found none; use --device cpu")
    if "rows_per_pass" in options and (rows := options.prompts * options.group_size) % options.rows_per_pass:
        sys.exit(
            f"`--rows-per-pass`: expected a divisor of the {rows} sequences of a step, got {options.rows_per_pass}"
        )
    options.command = " ".join([f"python -m benchmarks.{script}", *(sys.argv[1:] if args is None else args)])
    return options


def provenance(device: str = "cpu") -> dict[str, Any]:
    """Return when, on what and with which versions something runs."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "hardware": _hardware(device),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _LIBRARIES}},
    }


def write_record(options: argparse.Namespace, **figures: Any) -> None:
    """Write figures with command, date, commit, hardware and versions as JSON, where a file is given."""
    setting = {name: value for name, value in vars(options).items() if not isinstance(value, Path)}
    record = {
        "command": setting.pop("command"),
        **provenance(options.device),
        "setting": setting,
        **figures,
    }
    if options.output.name:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(record, indent=2) + "\n")


def print_table(title: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Print one row a contestant, one column a figure."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    table = Table("", title=title)
    for column in columns:
        table.add_column(column, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(str(row.get(column, "-")) for column in columns))
    Console(width=None if sys.stdout.isatty() else 200).print(table)  # 80 columns are too few


class StepLog:
    """Notes of each step: ``seconds``, ``cpu_seconds``, what went through the model with gradient, other figures.

    Processor time counts all threads: it says what a step costs where other work runs beside. If asked to, it keeps
    the gradient of the first step.
    """

    def __init__(self, device: str = "cpu", keep_gradient: bool = False) -> None:
        self.device = device
        self.steps: list[dict[str, float]] = []
        self.gradient: dict[str, Tensor] = {}
        self._keep_gradient = keep_gradient
        self._started = (0.0, 0.0)

    def watch(self, model: nn.Module, pad_token_id: int) -> None:
        """Count what goes through a model of transformers with gradient; training is about to start."""

        def count(_: nn.Module, args: tuple[Any, ...], inputs: dict[str, Any]) -> None:
            if torch.is_grad_enabled():
                input_ids = inputs["input_ids"] if "input_ids" in inputs else args[0]
                self.passed(input_ids.numel(), int((input_ids == pad_token_id).sum()))

        body: Any = model.base_model
        body.register_forward_pre_hook(count, with_kwargs=True)

    def passed(self, tokens: int, padding: int) -> None:
        """Count a forward pass with gradient."""
        step = self.steps[-1]
        for name, count in (("passes", 1), ("tokens", tokens), ("padding", padding)):
            step[name] = step.get(name, 0) + count

    def begin(self) -> None:
        """Begin a step."""
        self.steps.append({})
        _wait(self.device)
        self._started = time.perf_counter(), time.process_time()

    def before_optimizer(self, model: nn.Module) -> None:
        """Keep the gradient, if it is the first."""
        if self._keep_gradient and not self.gradient:
            named = ((name, weight.grad) for name, weight in model.named_parameters())
            self.gradient = {name: grad.float().cpu().clone() for name, grad in named if grad is not None}

    def end(self) -> None:
        """End a step."""
        _wait(self.device)
        seconds, cpu_seconds = self._started
        self.steps[-1] |= {
            "seconds": time.perf_counter() - seconds,
            "cpu_seconds": time.process_time() - cpu_seconds,
        }

    @contextmanager
    def step(self) -> Iterator[None]:
        """What runs within this context is a step."""
        self.begin()
        yield
        self.end()


Turns = dict[str, list[StepLog]]
"""By contestant, the log of each round."""


def take_turns(
    contestants: Mapping[str, Callable[[StepLog], Any]],
    rounds: int,
    device: str = "cpu",
    warmup_rounds: int = 0,
    warmup_steps: int = 0,
    keep_gradient: bool = False,
) -> Turns:
    """Run all contestants in turn, round after round, so that other load of the machine hits all alike.

    Each notes its steps in the log that it is given. Neither the first ``warmup_rounds`` count, nor in any turn the
    first ``warmup_steps``.
    """
    turns: Turns = {name: [] for name in contestants}
    gc.collect()
    gc.freeze()  # else every collection below looks at all objects of all libraries
    for number in range(warmup_rounds + rounds):
        for name, run in contestants.items():
            gc.collect()
            log = StepLog(device, keep_gradient)
            run(log)
            del log.steps[:warmup_steps]
            if number >= warmup_rounds:
                turns[name].append(log)
    gc.unfreeze()
    return turns


def steps_of(turns: Turns, figure: str = "seconds") -> dict[str, list[float]]:
    """Return a figure of all steps, by contestant."""
    return {name: [step[figure] for log in logs for step in log.steps] for name, logs in turns.items()}


def compare_times(turns: Turns, ours: str = "ours") -> dict[str, dict[str, float]]:
    """Return medians, spread and ratios of medians: ``ours_over_it``, and in processor time ``ours_over_its_cpu``.

    Example:
        >>> turns = {"ours": [StepLog()], "peer": [StepLog()]}
        >>> turns["ours"][0].steps = [{"seconds": second, "cpu_seconds": 1.0} for second in (1.0, 2.0, 3.0)]
        >>> turns["peer"][0].steps = [{"seconds": second, "cpu_seconds": 1.0} for second in (4.0, 4.0, 5.0)]
        >>> compare_times(turns)["peer"]["ours_over_it"]
        0.5
    """
    seconds, cpu = steps_of(turns), steps_of(turns, "cpu_seconds")
    median = {name: (statistics.median(seconds[name]), statistics.median(cpu[name])) for name in turns}
    return {
        name: {
            "median_s": round(median[name][0], 4),
            "min_s": round(min(seconds[name]), 4),
            "max_s": round(max(seconds[name]), 4),
            "ours_over_it": round(median[ours][0] / median[name][0], 3),
            "cpu_s": round(median[name][1], 4),
            "ours_over_its_cpu": round(median[ours][1] / median[name][1], 3),
        }
        for name in turns
    }


def apart(function: Callable[..., Any], *args: Any) -> Any:
    """Return what a function of a module returns in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def memory(device: str) -> float:
    """Return the MiB in use now: on CUDA the allocator's, on a CPU the resident memory of this process."""
    return (torch.cuda.memory_allocated() if device == "cuda" else psutil.Process().memory_info().rss) / MIB


def peak_memory(device: str) -> float:
    """Return the most that :func:`memory` has been, on a CPU since the process started."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / MIB
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss begins with that of the process that started this one
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        peak = int(line.split()[1]) * 1024
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return max(peak / MIB, memory(device))  # the system's own mark may lag behind


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _hardware(device: str) -> dict[str, Any]:
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        return {"platform": platform.platform(), "gpu": properties.name, "gpu_mib": properties.total_memory // MIB}
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = named[0] if named else platform.processor() or platform.machine()
    return {"platform": platform.platform(), "cpu": cpu, "threads": torch.get_num_threads()}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
