"""Time of whole training steps, ours beside those of TRL's ``GRPOTrainer``: rollout, scoring and update.

python -m benchmarks.whole_step --device cpu --output whole_step.json

Both train the small policy that comes with the package on the same sums, in the same order, with the same reward.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

from benchmarks.circumstances import circumstances
from benchmarks.contest import print_table, write_record
from benchmarks.options import check_device, check_passes
from benchmarks.setting import Device
from benchmarks.steps import StepLog, compare_times, seconds_of, take_turns
from benchmarks.whole_sides import Run, train_ours, train_trl, trl_settings

TOLERANCE = 0.05
"""Share by which the numbers of generated tokens may differ."""


def main(args: Sequence[str] | None = None) -> int:
    """Time both sides in turn, print a table and write the record; return 1 if they did not do the same work.

    Args:
        args: Command line; default the process's.
    """
    options = vars(_parser().parse_args(args))
    rounds, steps, warmup, output = (options.pop(name) for name in ("rounds", "steps", "warmup", "output"))
    run = Run(**options)
    check_passes(run.prompts * run.group_size, run.rows_per_pass)
    check_device(run.device)
    with TemporaryDirectory() as folder:
        sides = {"ours": partial(train_ours, run, Path(folder)), "TRL": partial(train_trl, run, Path(folder))}
        logs = take_turns(sides, rounds, steps, warmup, run.device)
        peer_settings = trl_settings(run, warmup + steps)
    sequences = run.prompts * run.group_size
    work = {name: describe(turns, sequences) for name, turns in logs.items()}
    results = {name: {**row, **work[name]} for name, row in compare_times(logs, "ours").items()}
    refused = difference(work["ours"], work["TRL"], sequences * rounds * steps)
    record = {
        **circumstances("benchmarks.whole_step", run.device, args),
        "setting": {**asdict(run), "rounds": rounds, "steps": steps, "warmup": warmup},
        "sides": {"TRL": peer_settings},
        "results": results,
        "refused": refused,
        "seconds": seconds_of(logs),
    }
    print_table(f"whole step, {run.device}" + (f" (not comparable: {refused})" if refused else ""), results)
    write_record(output, record)
    return 1 if refused else 0


def describe(turns: list[StepLog], sequences: int) -> dict[str, float]:
    """Return what a side did in a step, on average.

    Args:
        turns: Its logs.
        sequences: Sequences of a step.
    """
    figures = [figures for turn in turns for figures in turn.figures]
    passed = [count for turn in turns for count in turn.tokens]
    return {
        "reward": round(statistics.mean(row["reward"] for row in figures), 4),
        "generated_tokens": round(sequences * statistics.mean(row["completions/mean_length"] for row in figures)),
        "tokens_through_model": round(statistics.mean(passed)),
    }


def difference(ours: dict[str, float], peer: dict[str, float], responses: int) -> str | None:
    """Return in what two sides differ by more than chance, if they do.

    Args:
        ours: From :func:`describe`.
        peer: From :func:`describe`.
        responses: Responses that each has drawn.

    Example:
        >>> side = {"reward": 0.5, "generated_tokens": 100}
        >>> difference(side, {**side, "generated_tokens": 90}, 1000)
        'they generated 100 and 90 tokens a step'
    """
    tokens = ours["generated_tokens"], peer["generated_tokens"]
    if max(tokens) - min(tokens) > TOLERANCE * max(tokens):
        return f"they generated {tokens[0]} and {tokens[1]} tokens a step"
    rewards = ours["reward"], peer["reward"]
    # Four standard errors of a difference of shares, at their largest.
    if abs(rewards[0] - rewards[1]) > 4 * math.sqrt(0.5 / responses):
        return f"their mean rewards were {rewards[0]} and {rewards[1]}"
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=get_args(Device), default="cpu")
    parser.add_argument("--prompts", type=int, default=Run.prompts, help="prompts a training step")
    parser.add_argument("--group-size", type=int, default=Run.group_size, help="responses a prompt")
    parser.add_argument("--max-new-tokens", type=int, default=Run.max_new_tokens)
    parser.add_argument("--rows-per-pass", type=int, default=Run.rows_per_pass, help="TRL's sequences at once")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side has its turn")
    parser.add_argument("--steps", type=int, default=10, help="steps of a turn that are timed")
    parser.add_argument("--warmup", type=int, default=2, help="steps of a turn before these")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="JSON file for the record")
    return parser


if __name__ == "__main__":
    sys.exit(main())
