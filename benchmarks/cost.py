"""Time of our update against the number of tokens that teach something.

python -m benchmarks.cost --device cpu --output cost.json --plot cost.png

Half of the groups have advantages of 0 everywhere. If these cost nothing, time is a line over the tokens of the others.
"""

from __future__ import annotations

import statistics
import sys
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from benchmarks import harness, ours
from benchmarks.job import Job, describe, given_job, model_and_workplace

_FLAT_SHARE = 0.5


def main(args: Sequence[str] | None = None) -> int:
    """Time updates of growing size in turn, fit a line, and write the record and the plot."""
    options = harness.command_line(
        *(__doc__, "cost", args),
        **{"size": "tiny", "tokens": [2**k * 1024 for k in range(7)], "group_size": 8, "prompt_length": 64},
        **{"mean_response": 64, "vocab_size": 2000, "rounds": 3, "steps": 2, "warmup": 1, "plot": Path()},
    )
    with model_and_workplace(options) as (model, workplace):
        jobs = draw_jobs(options, model, workplace)
        trainings = {f"{tokens} tokens": partial(ours.train, job) for tokens, job in jobs.items()}
        turns = harness.take_turns(trainings, options.rounds, options.device, warmup_steps=options.warmup)
    passed, used = (fit_line(jobs, harness.steps_of(turns, figure)) for figure in ("seconds", "cpu_seconds"))
    harness.write_record(
        options,
        informative_tokens=list(jobs),
        tokens_through_model=[logs[0].steps[0]["tokens"] for logs in turns.values()],
        **passed,
        processor=used,
        seconds=harness.steps_of(turns),
    )
    rows = zip(turns, passed["median_s"], passed["deviations"], strict=True)
    harness.print_table(
        "update", {name: {"median_s": value, "deviation": deviation} for name, value, deviation in rows}
    )
    if options.plot.name:
        plot(options.plot, list(jobs), passed)
    return 0


def draw_jobs(options: Namespace, model: Path, workplace: Path) -> dict[int, Job]:
    """Return updates with about as many informative tokens as asked for, by how many they really have."""
    of_a_group = options.group_size * (options.prompt_length + options.mean_response)
    jobs = {}
    for wanted in options.tokens:
        prompts = round(max(1, round(wanted / of_a_group)) / (1 - _FLAT_SHARE))
        job = given_job(options, model, workplace, prompts, (1, 2 * options.mean_response - 1), _FLAT_SHARE)
        jobs[describe(job)["informative_tokens"]] = job
    return jobs


def fit_line(tokens: Sequence[int] | dict[int, Job], seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Fit ``median seconds = fixed + slope * tokens``, every point's relative error counting alike.

    Returns:
        The medians, the two coefficients, the relative deviations of the points from the line, and the largest of
        these.

    Example:
        >>> fit_line([1000, 2000, 3000], {"a": [1.5], "b": [2.5], "c": [3.5]})["largest_deviation"]
        0.0
    """
    x, y = np.array(list(tokens), dtype=float), np.array([statistics.median(values) for values in seconds.values()])
    slope, fixed = np.polyfit(x, y, deg=1, w=1 / y)
    deviations = y / (fixed + slope * x) - 1
    return {
        "median_s": [round(float(value), 4) for value in y],
        "fixed_s": round(float(fixed), 6),
        "s_per_1000_tokens": round(float(1000 * slope), 6),
        "deviations": [round(float(value), 4) + 0.0 for value in deviations],
        "largest_deviation": round(float(abs(deviations).max()), 4),
    }


def plot(path: Path, tokens: Sequence[int], fitted: dict[str, Any]) -> None:
    """Draw points and line into a PNG file."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    ends = np.array([0, max(tokens)])
    label = f"{fitted['fixed_s']:.3f} s + {fitted['s_per_1000_tokens']:.3f} s per 1000 tokens"
    axes.plot(ends, fitted["fixed_s"] + fitted["s_per_1000_tokens"] * ends / 1000, color="0.6", label=label)
    measured = f"measured, at most {fitted['largest_deviation']:.1%} from the line"
    axes.plot(tokens, fitted["median_s"], "o", label=measured)
    axes.set(xlabel="tokens of sequences with a gradient", ylabel="seconds an update", xlim=(0, None), ylim=(0, None))
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
