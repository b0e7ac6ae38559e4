"""Time of the update alone, ours beside that of TRL's ``GRPOTrainer`` and of a plain one, on the same sequences.

python -m benchmarks.update --device cpu --size tiny --prompts 8 --group-size 8 --output update.json

Responses are given, not drawn. Before anything is timed the gradients of all contestants are compared.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from torch import Tensor

from benchmarks.circumstances import circumstances
from benchmarks.contest import print_table, write_record
from benchmarks.options import check_device, check_passes, given_work_parser, given_work_setting, model_and_workplace
from benchmarks.steps import Training, compare_times, seconds_of, take_turns
from benchmarks.work import Job, draw_work

CONTESTANTS = {
    "ours": "benchmarks.canned_ours",
    "ours, padded": "benchmarks.canned_padded",
    "TRL": "benchmarks.canned_peer",
    "plain": "benchmarks.canned_plain",
}
"""Modules with ``settings`` and ``train``, by the names that the record shows; each is compared with the first."""
LEAST_COSINE = 0.9999


def main(args: Sequence[str] | None = None) -> int:
    """Compare gradients, time the contestants, print a table and write the record; return 1 if gradients differ.

    Args:
        args: Command line; default the process's.
    """
    options = _parser().parse_args(args)
    setting = given_work_setting(options, options.prompts, options.rows_per_pass)
    check_passes(setting.rows, setting.rows_per_pass)
    check_device(setting.device)
    with model_and_workplace(options.workplace, setting) as (model, workplace):
        job = Job(setting, draw_work(setting, options.flat_share), model, workplace, setting.steps)
        record = {
            **circumstances("benchmarks.update", setting.device, args),
            "setting": {**asdict(setting), "flat_share": options.flat_share},
            "work": job.work.describe(),
            "sides": {name: importlib.import_module(side).settings(job) for name, side in CONTESTANTS.items()},
            "gradients": (gradients := compare_gradients(job)),
            **(measure(job, options.rounds, options.warmup) if _agree(gradients) else {"results": None}),
        }
    print_table("gradients beside ours", gradients)
    if record["results"]:
        print_table(f"update, {setting.size}, {setting.device}", record["results"])
    write_record(options.output, record)
    return 0 if record["results"] else 1


def compare_gradients(job: Job) -> dict[str, dict[str, float]]:
    """Return cosine and ratio of norms between the first contestant's gradient and each other's, in full precision.

    Args:
        job: The training.
    """
    logs = take_turns(_trainings(replace(job, exact=True)), 1, 1, 0, job.setting.device, keep_gradient=True)
    gradients = {name: turns[0].gradient for name, turns in logs.items()}
    first, *others = gradients
    return {name: similarity(gradients[name], gradients[first]) for name in others}


def similarity(one: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, float]:
    """Return the cosine of two gradients and the norm of the one over that of the other.

    Args:
        one: By names of parameters.
        other: By the same names.

    Example:
        >>> similarity({"a": torch.tensor([3.0]), "b": torch.tensor([4.0])}, {"a": torch.tensor([1.0])})
        Traceback (most recent call last):
        ...
        ValueError: one has a gradient for b, the other has not
    """
    if odd := one.keys() ^ other.keys():
        raise ValueError(f"one has a gradient for {', '.join(sorted(odd))}, the other has not")
    product = sum(float((one[name].double() * other[name].double()).sum()) for name in one)
    norms = [sum(float(part.double().square().sum()) for part in side.values()) ** 0.5 for side in (one, other)]
    return {"cosine": round(product / (norms[0] * norms[1]), 8), "norm_ratio": round(norms[0] / norms[1], 6)}


def measure(job: Job, rounds: int, warmup: int) -> dict[str, Any]:
    """Time all contestants in turn.

    Args:
        job: The training.
        rounds: How often each has its turn.
        warmup: Steps of a turn that are not timed.
    """
    setting = job.setting
    logs = take_turns(_trainings(job), rounds, setting.steps, warmup, setting.device)
    results = compare_times(logs, next(iter(CONTESTANTS)))
    passed = {}
    for name, turns in logs.items():
        tokens, padding = turns[0].tokens[0], turns[0].padding[0]
        passed[name] = {"tokens_through_model": tokens, "padding_share": round(padding / tokens, 3)}
    return {"results": {name: {**results[name], **passed[name]} for name in results}, "seconds": seconds_of(logs)}


def _trainings(job: Job) -> dict[str, Training]:
    def training(side: str) -> Training:
        library = importlib.import_module(side)
        return lambda log, steps: library.train(replace(job, steps=steps), log)

    return {name: training(side) for name, side in CONTESTANTS.items()}


def _agree(gradients: dict[str, dict[str, float]]) -> bool:
    """A factor common to all of a gradient would be another normaliser: other work, too."""
    return all(row["cosine"] > LEAST_COSINE and abs(row["norm_ratio"] - 1) < 1e-2 for row in gradients.values())


def _parser() -> argparse.ArgumentParser:
    parser = given_work_parser(__doc__, prompt_length=128)
    parser.add_argument("--prompts", type=int, default=8, help="prompts a training step")
    parser.add_argument("--flat-share", type=float, default=0.5, help="share of groups whose advantages are 0")
    parser.add_argument("--rows-per-pass", type=int, default=8, help="sequences at once, of TRL and the plain update")
    parser.add_argument("--vocab-size", type=int, help="words, if not the architecture's")
    return parser


if __name__ == "__main__":
    sys.exit(main())
