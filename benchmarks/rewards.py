"""Verdicts and speed of `MathAccuracyReward` beside math-verify used directly and TRL's `accuracy_reward`.

python -m benchmarks.rewards --output rewards.json

Verdicts are those on the table of pairs that the tests use, with what a careful person says. Each answer of a peer is
judged in a process that is killed after `--seconds`: one that hangs has no verdict. Peers get each reference between
dollar signs, as they want it. TRL reads only what is in a box or after an anchor, so the pairs of mathematics alone are
judged once more with each answer in a box.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.verifiers import Pair, by_math_verify, by_trl
from lightning_gft import MathAccuracyReward
from lightning_gft.rewards import Failed, WorkerPool

_TABLE = Path(__file__).parents[1] / "tests/rewards/math_pairs.jsonl"
_NOT_OF_MATHEMATICS_ALONE = ("where the answer is", "attacks", "text", "multiple choice", "several references")
_FORMULAS: tuple[tuple[str, str, str], ...] = (
    (r"\frac{A}{B}", r"\frac{AA}{BB}", r"\frac{B}{A}"),
    (r"A\sqrt{B}", r"\sqrt{B} \cdot A", r"B\sqrt{A}"),
    ("(x+A)^2", "x^2+2(A)x+(A)^2", "x^2+A"),
    (r"\frac{A\pi}{B}", r"A\pi \cdot \frac{1}{B}", r"\frac{B\pi}{A}"),
    ("x^A y^{-B}", r"\frac{x^A}{y^B}", r"\frac{x^B}{y^A}"),
    ("[A, B+A]", r"\left[A, A+B\right]", "[A, B+A)"),
    ("2^{A}+B", "B+2^A", "2^{A}-B"),
    (r"A x + B y = 1", r"y B + x A = 1", r"A x - B y = 1"),
)
"""A reference, an answer that is equal, and one that is not; A and B are numbers."""


def main(args: Sequence[str] | None = None) -> int:
    """Compare verdicts, time all in turn, print both and write the record."""
    options = harness.command_line(
        *(__doc__, "rewards", args), numbers=2000, formulas=200, rounds=3, workers=2, seconds=20
    )
    warnings.simplefilter("ignore")  # of answers that have no verdict, which are counted
    verdicts = compare_verdicts(options.workers, options.seconds)
    harness.print_table("verdicts", verdicts)
    speed = {}
    for name, pairs in draw_pairs(options.numbers, options.formulas, options.seed).items():
        contestants = {
            "ours": partial(time_ours, pairs, options.workers),
            "ours, 1 worker": partial(time_ours, pairs, 1),
            "math-verify": partial(time_it, pairs, by_math_verify),
            "TRL": partial(time_it, pairs, by_trl),
        }
        seconds = harness.steps_of(harness.take_turns(contestants, options.rounds))
        speed[name] = summarise(seconds, len(pairs))
        harness.print_table(f"{name}: {len(pairs)} answers", speed[name])
    harness.write_record(options, verdicts=verdicts, speed=speed)
    return 0


def compare_verdicts(workers: int, seconds: float) -> dict[str, dict[str, Any]]:
    """Return by contestant in how many percent of the pairs its verdict is a careful person's."""
    table = [json.loads(line) for line in _TABLE.read_text().splitlines()]
    single = [row for row in table if not isinstance(row["reference"], list)]
    alone = [row for row in single if row["category"] not in _NOT_OF_MATHEMATICS_ALONE]
    pairs = [(row["response"], str(row["reference"])) for row in single]
    boxed = [(rf"\boxed{{{row['response']}}}", str(row["reference"])) for row in alone]
    rows: dict[str, dict[str, Any]] = {}
    for name, judge in (("ours", None), ("math-verify", by_math_verify), ("TRL", by_trl)):
        rows[name] = {"pairs": len(pairs), "boxed_pairs": len(boxed)}
        for title, asked, people in (("", pairs, single), ("boxed_", boxed, alone)):
            given = _ours(asked, workers, seconds) if judge is None else _asked(asked, judge, workers, seconds)
            agreed = sum(score == row["right"] for score, row in zip(given, people, strict=True))
            rows[name][f"{title}agreed_percent"] = round(100 * agreed / len(people), 1)
            rows[name][f"{title}without_verdict"] = sum(score is None for score in given)
    return rows


def _ours(pairs: Sequence[Pair], workers: int, seconds: float) -> list[float | None]:
    reward = MathAccuracyReward(workers=workers, seconds=seconds, failed_score=-1.0)
    given = _score(reward, pairs)
    reward.close()
    return [None if score < 0 else score for score in given]


def _asked(pairs: Sequence[Pair], judge: Callable[[Pair], float | None], workers: int, seconds: float) -> list[Any]:
    with WorkerPool(judge, seconds=seconds, workers=workers) as pool:
        return [None if isinstance(given, Failed) else given for given in pool.map(list(pairs))]


def draw_pairs(numbers: int, formulas: int, seed: int) -> dict[str, list[Pair]]:
    """Return pairs that all differ, half of them right, with the answer in a box: of numbers, of formulas, and both."""
    draw = random.Random(seed)
    plain = []
    for number in range(numbers):
        value = draw.randrange(10**6)
        plain.append((rf"Step {number}. So we get \boxed{{{value + number % 2}}}.", str(value)))
    latex = []
    for number in range(formulas):
        reference, equal, other = draw.choice(_FORMULAS)
        a, b = number + 2, draw.randrange(2, 1000)
        texts = [
            text.replace("AA", str(3 * a)).replace("BB", str(3 * b)).replace("A", str(a)).replace("B", str(b))
            for text in (other if number % 2 else equal, reference)
        ]
        latex.append((rf"Step {number}. So we get \boxed{{{texts[0]}}}.", texts[1]))
    return {"numbers": plain, "formulas": latex, "mixed": [*plain[: 9 * formulas], *latex]}


def time_ours(pairs: Sequence[Pair], workers: int, log: harness.StepLog) -> None:
    """Time our reward with nothing remembered; its workers have started."""
    reward = MathAccuracyReward(workers=workers)
    _score(reward, [(f"y+{number}", f"{number}+y") for number in range(2 * workers)])
    with log.step():
        _score(reward, pairs)
    reward.close()


def time_it(pairs: Sequence[Pair], judge: Callable[[Pair], float | None], log: harness.StepLog) -> None:
    """Time a peer in this process, the only place where its time limit works."""
    judge(("y+1", "1+y"))
    with log.step():
        for pair in pairs:
            judge(pair)


def _score(reward: MathAccuracyReward, pairs: Sequence[Pair]) -> list[float]:
    responses, references = zip(*pairs, strict=True)
    return [float(score) for score in reward(prompts=[""] * len(pairs), responses=responses, references=references)]  # type: ignore[arg-type]


def summarise(seconds: dict[str, list[float]], answers: int) -> dict[str, dict[str, float]]:
    """Return medians, spread and our time over each contestant's.

    Example:
        >>> summarise({"ours": [1.0], "peer": [4.0]}, answers=8)["peer"]["ours_over_it"]
        0.25
    """
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        name: {
            "median_s": round(median, 4),
            "min_s": round(min(seconds[name]), 4),
            "max_s": round(max(seconds[name]), 4),
            "answers_per_s": round(answers / median, 1),
            "ours_over_it": round(medians["ours"] / median, 3),
        }
        for name, median in medians.items()
    }


if __name__ == "__main__":
    sys.exit(main())
