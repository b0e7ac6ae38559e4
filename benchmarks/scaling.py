"""One process against two on this machine: time of a training step, what the two send each other, and memory.

OMP_NUM_THREADS=1 python -m benchmarks.scaling --device cpu --output scaling.json

Before anything is timed it checks that two processes train as one does, and counts what they send.
"""

from __future__ import annotations

import os
import statistics
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.harness import MIB, command_line, print_table, write_record
from benchmarks.job import Job, describe, given_job, model_and_workplace
from benchmarks.traffic import FIGURES, STRATEGIES, Sizes, closed_form
from benchmarks.worker import WORLD, Part, Workers, change_file, observe, time_steps, weigh

TOLERANCE = 1e-3
"""Relative norm by which what training changed may differ between one process and two, in float32."""
_HALF, _APART = "one, half of the batch", "two that send nothing"
_GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": str(MIB)}
"""Lets glibc return larger pieces of memory to the system as soon as they are freed; else they hide what is in use."""


def main(args: Sequence[str] | None = None) -> int:
    """Compare, count, time and weigh, print tables and write the record; return 1 if one and two train differently."""
    options = command_line(
        *(__doc__, "scaling", args),
        **{"size": "small", "prompts": 4, "group_size": 4, "prompt_length": 32, "response_length": 24},
        **{"vocab_size": None, "rounds": 2, "steps": 2, "warmup": 1},
    )
    if options.prompts % 4:
        sys.exit("`--prompts`: expected a multiple of 4, for two micro-batches on each of two processes")
    if options.device == "cuda" and torch.cuda.device_count() < WORLD:
        sys.exit(f"`--device`: expected {WORLD} CUDA devices, found {torch.cuda.device_count()}")
    with model_and_workplace(options) as (model, workplace):
        job = make_job(options, model, workplace)
        with Workers(options.device) as workers:
            observed = compare(options, job, workers)
            agree = all(row["difference"] < TOLERANCE for row in observed.values() if not row["autocast"])
            timed = measure(job, workers, options) if agree else {"results": None}
        memory = compare_memory(job) if agree else None
    _print(observed, timed["results"], memory)
    write_record(
        options,
        network="none: all processes run on one machine",
        backend="nccl" if options.device == "cuda" else "gloo over the loopback interface",
        work=describe(job),
        traffic=observed,
        **timed,
        memory=memory,
    )
    return 0 if agree else 1


def make_job(options: Namespace, model: Path, workplace: Path, micro_batches: int = 1) -> Job:
    """Return a training in which each of two ranks has so many micro-batches."""
    length = options.response_length
    job = given_job(options, model, workplace, options.prompts, (length, length))
    # As many tokens as the prompts of a micro-batch bring along, the same whatever the number of processes.
    tokens = options.prompts * (options.prompt_length + options.group_size * length)
    return replace(job, micro_batch_tokens=tokens // (WORLD * micro_batches))


def compare(options: Namespace, job: Job, workers: Workers) -> dict[str, dict[str, Any]]:
    """Train on one process and on two; return how far they are apart, and what the two have sent."""
    # What is sent depends on no tokens, so further variants have few.
    few = Namespace(**{**vars(options), "prompt_length": 4, "response_length": 4})
    brief = make_job(few, job.model, job.workplace)
    variants = {
        "": job,
        ", rollouts": replace(job, responses={}),
        ", two micro-batches": make_job(few, job.model, job.workplace, micro_batches=2),
        ", bf16-mixed": brief,
        ", lora": replace(brief, method="lora"),
        ", qlora": replace(brief, method="qlora"),
    }
    rows = {}
    for name, variant in variants.items():
        exact = replace(variant, steps=2, autocast=name == ", bf16-mixed", max_grad_norm=None)
        _observe(exact, None, workers)
        alone = torch.load(change_file(job))
        for strategy in STRATEGIES:
            row = _observe(exact, strategy, workers)
            rows[strategy + name] = row | {"difference": _difference(torch.load(change_file(job)), alone)}
    return rows


def measure(job: Job, workers: Workers, options: Namespace) -> dict[str, Any]:
    """Time one process and two in turn, with given responses and with such that the policy draws."""
    seconds: dict[str, dict[str, list[float]]] = {"update": {}, "rollout and update": {}}
    for _ in range(options.rounds):
        for kind, taken in seconds.items():
            for name, parts in turns(job if kind == "update" else replace(job, responses={})).items():
                steps = zip(*workers.run(time_steps, parts), strict=True)
                taken.setdefault(name, []).extend([max(step) for step in steps][options.warmup :])
    return {"results": {kind: summarize(taken) for kind, taken in seconds.items()}, "seconds": seconds}


def turns(job: Job) -> dict[str, list[Part]]:
    """Return the part of each process, by what is compared."""
    pairs = {name: [Part(job, name, rank) for rank in range(WORLD)] for name in STRATEGIES}
    return {_HALF: [Part(job, None)], _APART: [Part(job, None, rank) for rank in range(WORLD)], **pairs}


def summarize(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Return medians, spread and efficiencies.

    Returns:
        ``weak`` is the time of one process with as much to do as each of two, over theirs. ``of_no_talk`` compares with
        two that train side by side and send nothing: what is lost beyond that is not lost to the shared memory.

    Example:
        >>> taken = {"one, half of the batch": [2.0], "two that send nothing": [2.0], "ddp": [2.5]}
        >>> summarize(taken)["ddp"]["weak"]
        0.8
    """
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rows = {}
    for name, values in seconds.items():
        rows[name] = {"median_s": medians[name], "min_s": min(values), "max_s": max(values)}
        if name != _HALF:
            rows[name] |= {"weak": medians[_HALF] / medians[name], "of_no_talk": medians[_APART] / medians[name]}
    return {name: {field: round(value, 4) for field, value in row.items()} for name, row in rows.items()}


def compare_memory(job: Job, names: Sequence[str] = (_HALF, *STRATEGIES)) -> dict[str, list[dict[str, float]]]:
    """Return the memory of each of fresh processes, for steps with rollouts, all with half of the batch."""
    rows = {}
    for name, parts in turns(replace(job, responses={})).items():
        if name in names:
            with patch.dict(os.environ, _GIVE_BACK), Workers(job.device) as fresh:
                rows[name] = fresh.run(weigh, parts)
    return rows


def _observe(job: Job, strategy: str | None, workers: Workers) -> dict[str, Any]:
    parts = [Part(job, None, world=1)] if strategy is None else turns(job)[strategy]
    first, *others = workers.run(observe, parts)
    if any(other != first for other in others):
        raise RuntimeError(f"processes have counted different traffic: {first}, {others}")
    sizes = Sizes(**first["sizes"])
    expected = closed_form(strategy or "", sizes, first["micro_batches"], rollouts=not job.responses)
    return {**first, "autocast": job.autocast, "expected_bytes": expected}


def _difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    apart = sum(float((one[name] - other[name]).double().square().sum()) for name in other)
    whole = sum(float(change.double().square().sum()) for change in other.values())
    return float(f"{(apart / whole) ** 0.5:.2g}")


def _print(traffic: dict[str, Any], results: dict[str, Any] | None, memory: dict[str, Any] | None) -> None:
    counted = {
        name: {
            "difference": row["difference"],
            **{f"{kind}, MiB": round(size / MIB, 3) for kind, size in row["bytes"].items() if kind != FIGURES},
            "expected, MiB": round(sum(row["expected_bytes"].values()) / MIB, 3),
            "figures": f"{row['bytes'][FIGURES]} B in {row['calls'][FIGURES]}",
        }
        for name, row in traffic.items()
    }
    print_table("bytes of a step and process; difference from one process", counted)
    for kind, rows in (results or {}).items():
        print_table(kind, rows)
    if memory:
        of_each = {f"{name}, {rank}": row for name, rows in memory.items() for rank, row in enumerate(rows)}
        print_table("memory of a process", of_each)


if __name__ == "__main__":
    sys.exit(main())
