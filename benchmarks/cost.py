"""Time of our update against the number of tokens that teach something.

python -m benchmarks.cost --device cpu --output cost.json --plot cost.png

Half of the groups have advantages of 0 everywhere. If these cost nothing, time is a line over the tokens of the others.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from benchmarks import canned_ours
from benchmarks.circumstances import circumstances
from benchmarks.contest import print_table, write_record
from benchmarks.options import check_device, given_work_parser, given_work_setting, model_and_workplace
from benchmarks.setting import Setting
from benchmarks.steps import StepLog, cpu_seconds_of, seconds_of, take_turns
from benchmarks.work import Job, draw_work

_FLAT_SHARE = 0.5


def main(args: Sequence[str] | None = None) -> int:
    """Time updates of growing size in turn, fit a line, and write the record and the plot.

    Args:
        args: Command line; default the process's.
    """
    options = _parser().parse_args(args)
    check_device(options.device)
    setting = given_work_setting(options)
    with model_and_workplace(options.workplace, setting) as (model, workplace):
        jobs = draw_jobs(setting, options.tokens, model, workplace)
        trainings = {f"{tokens} tokens": partial(_train, job) for tokens, job in jobs.items()}
        logs = take_turns(trainings, options.rounds, setting.steps, options.warmup, setting.device)
    seconds, cpu_seconds = (
        [round(statistics.median(values), 4) for values in times.values()]
        for times in (seconds_of(logs), cpu_seconds_of(logs))
    )
    fitted = fit_line(list(jobs), seconds)
    record = {
        **circumstances("benchmarks.cost", setting.device, args),
        "setting": {**asdict(setting), "prompts": [job.setting.prompts for job in jobs.values()]},
        "informative_tokens": list(jobs),
        "tokens_through_model": [turns[0].tokens[0] for turns in logs.values()],
        "median_s": seconds,
        **fitted,
        "processor": {"median_s": cpu_seconds, **fit_line(list(jobs), cpu_seconds)},
        "seconds": seconds_of(logs),
    }
    rows = zip(trainings, seconds, fitted["deviations"], strict=True)
    print_table("update", {name: {"median_s": value, "deviation": deviation} for name, value, deviation in rows})
    write_record(options.output, record)
    if options.plot is not None:
        plot(options.plot, list(jobs), seconds, fitted)
    return 0


def draw_jobs(setting: Setting, tokens: Sequence[int], model: Path, workplace: Path) -> dict[int, Job]:
    """Return updates with about so many informative tokens, by how many they really have.

    Args:
        setting: What of; the number of prompts is replaced.
        tokens: How many.
        model: Folder of the model.
        workplace: Folder to write to.
    """
    of_a_group = setting.group_size * (setting.prompt_length + (setting.response_length + 1) // 2)
    jobs = {}
    for wanted in tokens:
        informative = max(1, round(wanted / of_a_group))
        own = replace(setting, prompts=round(informative / (1 - _FLAT_SHARE)))
        work = draw_work(own, _FLAT_SHARE)
        jobs[work.describe()["informative_tokens"]] = Job(own, work, model, workplace, setting.steps)
    return jobs


def fit_line(tokens: Sequence[int], seconds: Sequence[float]) -> dict[str, Any]:
    """Fit ``seconds = fixed + slope * tokens``, every point's relative error counting alike.

    Args:
        tokens: Two or more numbers.
        seconds: As many.

    Returns:
        The two coefficients, the relative deviations of the points from the line, and the largest of these.

    Example:
        >>> fit_line([1000, 2000, 3000], [1.5, 2.5, 3.5])["largest_deviation"]
        0.0
    """
    x, y = np.array(tokens, dtype=float), np.array(seconds)
    slope, fixed = np.polyfit(x, y, deg=1, w=1 / y)
    deviations = y / (fixed + slope * x) - 1
    return {
        "fixed_s": round(float(fixed), 6),
        "s_per_1000_tokens": round(float(1000 * slope), 6),
        "deviations": [round(float(value), 4) + 0.0 for value in deviations],
        "largest_deviation": round(float(abs(deviations).max()), 4),
    }


def plot(path: Path, tokens: Sequence[int], seconds: Sequence[float], fitted: dict[str, Any]) -> None:
    """Draw points and line.

    Args:
        path: PNG file.
        tokens: Of each point.
        seconds: Of each point.
        fitted: From :func:`fit_line`.
    """
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    ends = np.array([0, max(tokens)])
    line = fitted["fixed_s"] + fitted["s_per_1000_tokens"] * ends / 1000
    label = f"{fitted['fixed_s']:.3f} s + {fitted['s_per_1000_tokens']:.3f} s per 1000 tokens"
    axes.plot(ends, line, color="0.6", label=label)
    axes.plot(tokens, seconds, "o", label=f"measured, at most {fitted['largest_deviation']:.1%} from the line")
    axes.set(xlabel="tokens of sequences with a gradient", ylabel="seconds an update", xlim=(0, None), ylim=(0, None))
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _train(job: Job, log: StepLog, steps: int) -> None:
    canned_ours.train(replace(job, steps=steps), log)


def _parser() -> argparse.ArgumentParser:
    parser = given_work_parser(__doc__, prompt_length=64)
    parser.add_argument("--tokens", type=int, nargs="+", default=[2**k * 1024 for k in range(7)], help="informative")
    parser.add_argument("--vocab-size", type=int, default=2000, help="words")
    parser.add_argument("--plot", type=Path, help="PNG file for the plot")
    return parser


if __name__ == "__main__":
    sys.exit(main())
