"""One process against two on this machine: time of a training step, what the two send each other, and memory.

OMP_NUM_THREADS=1 python -m benchmarks.scaling --output scaling.json

Before anything is timed it checks that two processes train as one does, and counts what they send.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.circumstances import circumstances
from benchmarks.contest import print_table, write_record
from benchmarks.meter import MIB
from benchmarks.options import check_device, model_and_workplace, training_parser
from benchmarks.processes import Processes
from benchmarks.scaling_side import STRATEGIES, Part, Variant, change_file, observe, time_steps, weigh
from benchmarks.setting import Device, Setting
from benchmarks.traffic import closed_form
from benchmarks.work import Job, draw_work

TOLERANCE = 1e-3
"""Relative norm by which what training changed may differ between one process and two, in float32."""
_PROCESSES = 2
_ONE, _HALF, _APART = "one, the whole batch", "one, half of it", "two that do not talk"
_TIMED: dict[str, dict[str, Any]] = {"": {}, ", rollouts": {"rollouts": True}}
_COUNTED: dict[str, dict[str, Any]] = {
    ", two micro-batches": {"micro_batches": 2},
    ", bf16-mixed": {"autocast": True},
    ", lora": {"method": "lora"},
    ", qlora": {"method": "qlora"},
}
_MEMORY = (
    *("weights_mib", "gradients_mib", "optimizer_mib"),
    *("before_loading_mib", "loaded_mib", "peak_of_loading_mib", "peak_mib"),
)
_GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
"""Lets glibc return larger pieces of memory to the system as soon as they are freed."""


def main(args: Sequence[str] | None = None) -> int:
    """Compare, count, time and weigh, print tables and write the record; return 1 if one and two train differently.

    Args:
        args: Command line; default the process's.
    """
    options = _parser().parse_args(args)
    setting = _setting(options)
    with model_and_workplace(options.workplace, setting) as (model, workplace):
        work = draw_work(setting, flat_share=0, shortest=setting.response_length)
        job = Job(setting, work, model, workplace, options.steps)
        with Processes(_PROCESSES, setting.device) as processes:
            observed = compare(job, processes)
            agree = all(row["difference"] < TOLERANCE for row in observed.values() if not row["autocast"])
            timed = measure(job, processes, options.rounds, options.warmup) if agree else {"results": None}
        memory = compare_memory(job) if agree else None
    record = {
        **circumstances("benchmarks.scaling", setting.device, args),
        "network": "none: all processes run on one machine",
        "backend": "nccl" if setting.device == "cuda" else "gloo over the loopback interface",
        "threads_a_process": 1,
        "setting": setting.describe(),
        "work": work.describe(),
        "traffic": observed,
        **timed,
        "memory": memory,
    }
    _print(record)
    write_record(options.output, record)
    return 0 if agree else 1


def compare(job: Job, processes: Processes) -> dict[str, dict[str, Any]]:
    """Train on one process and on two; return how far they are apart, and what the two have sent.

    Args:
        job: The training.
        processes: To train on.
    """
    timed = replace(job, steps=2, exact=True)
    rows = {}
    for name, fields in (_TIMED | _COUNTED).items():
        job = timed if name in _TIMED else _brief(timed)
        _observe(job, Variant(None, **fields), processes)
        alone = torch.load(change_file(job))
        for strategy in STRATEGIES:
            variant = Variant(strategy, **fields)
            row = _observe(job, variant, processes)
            rows[strategy + name] = row | {"difference": _difference(torch.load(change_file(job)), alone)}
    return rows


def measure(job: Job, processes: Processes, rounds: int, warmup: int) -> dict[str, Any]:
    """Time one process and two in turn, with given responses and with such that the policy draws.

    Args:
        job: The training.
        processes: To train on.
        rounds: How often each has its turn.
        warmup: Steps of a turn that are not timed.
    """
    job = replace(job, steps=warmup + job.steps)
    seconds: dict[str, dict[str, list[float]]] = {"update": {}, "rollout and update": {}}
    for _ in range(rounds):
        for kind, taken in seconds.items():
            for name, (parts, together) in _turns(job, rollouts=kind != "update").items():
                steps = zip(*processes.run(time_steps, parts, together), strict=True)
                taken.setdefault(name, []).extend([max(step) for step in steps][warmup:])
    return {"results": {kind: summarize(taken) for kind, taken in seconds.items()}, "seconds": seconds}


def summarize(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Return medians, spread and efficiencies.

    Args:
        seconds: Of the steps, by who took them.

    Returns:
        ``strong`` is the speed-up over one process with the same batch, by the number of processes; ``weak`` the time
        of one process with as much to do as each of two, over theirs. ``of_no_talk`` compares with two that train
        side by side without a word: what is lost beyond that is lost to what they send, not to the shared memory.

    Example:
        >>> taken = {"one, the whole batch": [4.0], "one, half of it": [2.0], "two that do not talk": [2.0]}
        >>> summarize({**taken, "ddp": [2.5]})["ddp"]["strong"]
        0.8
    """
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rows = {}
    for name, values in seconds.items():
        rows[name] = {"median_s": medians[name], "min_s": min(values), "max_s": max(values)}
        if name not in (_ONE, _HALF):
            rows[name]["strong"] = medians[_ONE] / medians[name] / _PROCESSES
            rows[name]["weak"] = medians[_HALF] / medians[name]
            rows[name]["of_no_talk"] = medians[_APART] / medians[name]
    return {name: {field: round(value, 4) for field, value in row.items()} for name, row in rows.items()}


def compare_memory(job: Job, names: Sequence[str] = (_HALF, *STRATEGIES)) -> dict[str, list[dict[str, float]]]:
    """Return the memory of each process, for steps with rollouts, all with half of the batch.

    Args:
        job: The training.
        names: Who is weighed.
    """
    rows = {}
    for name, (parts, together) in _turns(job, rollouts=True).items():
        if name in names:
            # Else freed tensors of less than 32 MiB stay with the process, and hide what is in use.
            with patch.dict(os.environ, _GIVE_BACK), Processes(len(parts), job.setting.device) as fresh:
                measured = fresh.run(weigh, parts, together)
            rows[name] = [{field: row[field] for field in _MEMORY} for row in measured]
    return rows


def _brief(job: Job) -> Job:
    """Return the same with few tokens, on which what is sent does not depend."""
    setting = replace(job.setting, prompt_length=4, response_length=4)
    return replace(job, setting=setting, work=draw_work(setting, flat_share=0, shortest=4))


def _turns(job: Job, rollouts: bool) -> dict[str, tuple[list[Part], bool]]:
    """Return who trains, by names: the part of each process, and whether they are a group."""
    autocast = job.autocast
    alone, half = Variant(None, rollouts, autocast=autocast), [0, 1]
    return {
        _ONE: ([Part(job, alone)], False),
        _HALF: ([Part(job, alone, 0, _PROCESSES)], False),
        _APART: ([Part(job, alone, rank, _PROCESSES) for rank in half], False),
        **{
            name: ([Part(job, replace(alone, strategy=name), rank, _PROCESSES) for rank in half], True)
            for name in STRATEGIES
        },
    }


def _observe(job: Job, variant: Variant, processes: Processes) -> dict[str, Any]:
    count = 1 if variant.strategy is None else _PROCESSES
    parts = [Part(job, variant, rank, count) for rank in range(count)]
    first, *others = processes.run(observe, parts, together=count > 1)
    if any(other != first for other in others):
        raise RuntimeError(f"processes have counted different traffic: {first}, {others}")
    return {
        "micro_batches": first.micro_batches,
        "autocast": variant.autocast,
        "sizes": asdict(first.sizes),
        "calls": first.traffic.calls,
        "bytes": first.traffic.bytes,
        "expected_bytes": closed_form(variant.strategy or "", first.sizes, first.micro_batches, variant.rollouts),
    }


def _difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    apart = sum(float((one[name] - other[name]).double().square().sum()) for name in other)
    whole = sum(float(change.double().square().sum()) for change in other.values())
    return float(f"{(apart / whole) ** 0.5:.2g}")


def _print(record: dict[str, Any]) -> None:
    kinds = ("all_reduce", "all_gather", "reduce_scatter", "broadcast")
    traffic = {
        name: {
            "difference": row["difference"],
            **{f"{kind}, MiB": round(row["bytes"].get(kind, 0) / MIB, 3) for kind in kinds},
            "expected, MiB": round(sum(row["expected_bytes"].values()) / MIB, 3),
            "figures": f"{row['bytes']['figures']} B in {row['calls']['figures']}",
        }
        for name, row in record["traffic"].items()
    }
    print_table("bytes of a step and process; difference from one process", traffic)
    for kind, rows in (record["results"] or {}).items():
        print_table(f"{kind}, {record['setting']['size']}, {record['setting']['device']}", rows)
    if record["memory"]:
        memory = {f"{name}, {rank}": row for name, rows in record["memory"].items() for rank, row in enumerate(rows)}
        print_table("memory of a process", memory)


def _check_devices(device: Device) -> None:
    check_device(device)
    if device == "cuda" and torch.cuda.device_count() < _PROCESSES:
        sys.exit(f"--device=cuda: {_PROCESSES} GPUs are needed, {torch.cuda.device_count()} are here")


def _setting(options: argparse.Namespace) -> Setting:
    _check_devices(options.device)
    if options.prompts % 4:
        sys.exit(f"--prompts={options.prompts} must be a multiple of 4: two processes, two micro-batches on each")
    return Setting(
        size=options.size,
        device=options.device,
        method="full",
        group_size=options.group_size,
        prompts=options.prompts,
        prompt_length=options.prompt_length,
        response_length=options.response_length,
        steps=options.steps,
        seed=options.seed,
        vocab_size=options.vocab_size,
    )


def _parser() -> argparse.ArgumentParser:
    parser = training_parser(__doc__)
    parser.set_defaults(size="small", group_size=4)
    parser.add_argument("--prompts", type=int, default=4, help="prompts a step, over all processes")
    parser.add_argument("--prompt-length", type=int, default=32, help="tokens")
    parser.add_argument("--response-length", type=int, default=24, help="tokens of every response")
    parser.add_argument("--rounds", type=int, default=2, help="how often each has its turn")
    parser.add_argument("--steps", type=int, default=2, help="steps of a turn that are timed")
    parser.add_argument("--warmup", type=int, default=1, help="steps of a turn before these")
    parser.add_argument("--vocab-size", type=int, help="words, if not the architecture's")
    return parser


if __name__ == "__main__":
    sys.exit(main())
