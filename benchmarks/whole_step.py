"""Time of whole GRPO steps, ours beside those of TRL's ``GRPOTrainer``: rollout, scoring and updates.

python -m benchmarks.whole_step --device cpu --output whole_step.json

Both train the small policy that comes with the package on the same sums, in the same order, with the same reward.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import harness
from benchmarks.harness import StepLog
from benchmarks.job import ARITHMETIC, Job, sides
from lightning_gft import ArithmeticDataModule, ExactMatchReward

TOLERANCE = 0.05
"""Share by which the numbers of generated tokens may differ."""


def main(args: Sequence[str] | None = None) -> int:
    """Time both sides in turn, print a table and write the record; return 1 if they did not do the same work."""
    options = harness.command_line(
        *(__doc__, "whole_step", args),
        **{"prompts": 32, "group_size": 8, "max_new_tokens": 48, "rows_per_pass": 64},
        **{"updates_per_batch": 1},
        **{"rounds": 3, "steps": 10, "warmup": 2},
    )
    sequences = options.prompts * options.group_size
    with TemporaryDirectory() as folder:
        job = make_job(options, Path(folder))
        trainings = {name: partial(side.train, job) for name, side in sides().items()}
        turns = harness.take_turns(trainings, options.rounds, options.device, warmup_steps=options.warmup)
    work = {name: describe(logs, sequences) for name, logs in turns.items()}
    results = {name: {**row, **work[name]} for name, row in harness.compare_times(turns).items()}
    refused = difference(work, sequences * options.rounds * options.steps)
    harness.print_table(f"whole step, {options.device}" + (f" (not comparable: {refused})" if refused else ""), results)
    settings = {name: side.settings(job) for name, side in sides().items()}
    harness.write_record(options, sides=settings, results=results, refused=refused, seconds=harness.steps_of(turns))
    return 1 if refused else 0


def make_job(options: Any, workplace: Path) -> Job:
    steps = options.warmup + options.steps
    data = ArithmeticDataModule(num_train=steps * options.prompts, num_val=1, num_second_skill=0, seed=options.seed)
    rows = [{name: row[name] for name in ("prompt", "answer")} for row in data.load_rows("train")[""]]
    return Job(
        model=ARITHMETIC,
        workplace=workplace,
        batches=[rows[start : start + options.prompts] for start in range(0, len(rows), options.prompts)],
        score=ExactMatchReward(marker="#"),
        group_size=options.group_size,
        response_length=options.max_new_tokens,
        steps=steps,
        device=options.device,
        autocast=options.device == "cuda",
        rows_per_pass=options.rows_per_pass,
        updates_per_batch=options.updates_per_batch,
        learning_rate=3e-5,
        seed=options.seed,
    )


def describe(logs: list[StepLog], sequences: int) -> dict[str, float]:
    """Return what a side did in a step of so many sequences, on average."""
    mean = {
        name: statistics.mean(step[name] for log in logs for step in log.steps)
        for name in ("reward", "completions/mean_length", "tokens")
    }
    return {
        "reward": round(mean["reward"], 4),
        "generated_tokens": round(sequences * mean["completions/mean_length"]),
        "tokens_through_model": round(mean["tokens"]),
    }


def difference(work: dict[str, dict[str, float]], responses: int) -> str | None:
    """Return in what sides that drew so many responses differ by more than chance, if they do.

    Example:
        >>> side = {"reward": 0.5, "generated_tokens": 100}
        >>> difference({"ours": side, "TRL": {**side, "generated_tokens": 90}}, 1000)
        'generated tokens a step: [100, 90]'
    """
    tokens = [side["generated_tokens"] for side in work.values()]
    if max(tokens) - min(tokens) > TOLERANCE * max(tokens):
        return f"generated tokens a step: {tokens}"
    rewards = [side["reward"] for side in work.values()]
    # Four standard errors of a difference of shares, at their largest.
    if max(rewards) - min(rewards) > 4 * math.sqrt(0.5 / responses):
        return f"mean rewards: {rewards}"
    return None


if __name__ == "__main__":
    sys.exit(main())
