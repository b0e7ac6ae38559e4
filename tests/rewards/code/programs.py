"""Scoring programs in tests."""

from __future__ import annotations

import textwrap

from lightning_gft.rewards import CodeExecutionReward

PATIENCE = 120.0
"""Seconds for what ends by itself, on a machine that is busy."""
ADD = "def add(a, b):\n    return a + b\n"


def reward(**options: object) -> CodeExecutionReward:
    return CodeExecutionReward(**{"runs_model_code": True, "seconds": PATIENCE, **options})


def score(tests: object, *programs: str, **options: object) -> list[float]:
    programs = tuple(textwrap.dedent(program) for program in programs)
    return score_with(reward(**options), tests, *programs)


def score_with(scorer: CodeExecutionReward, tests: object, *programs: str) -> list[float]:
    count = len(programs)
    return list(scorer(prompts=["p"] * count, responses=programs, references=[tests] * count))
