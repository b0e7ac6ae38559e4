"""Rows of the arithmetic task: splits without a common problem, and the mixture that trains a base policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import TypeVar

from lightning_gft.arithmetic.problems import (
    ArithmeticProblem,
    LetterProblem,
    StepError,
    draw_arithmetic,
    draw_letters,
    no_slips,
    slips,
)
from lightning_gft.data.columns import Row

_Problem = TypeVar("_Problem", ArithmeticProblem, LetterProblem)


def draw_splits(draw: Callable[[Random], _Problem], sizes: Mapping[str, int], seed: str) -> dict[str, list[_Problem]]:
    """Draw the problems of several splits, none of them twice.

    Each split has its own random stream and avoids only the problems of the splits before it. The first split
    therefore does not depend on the sizes of the others.

    Example:
        >>> splits = draw_splits(draw_letters, {"val": 2, "train": 3}, seed="0")
        >>> {split: len(problems) for split, problems in splits.items()}
        {'val': 2, 'train': 3}
    """
    seen: set[_Problem] = set()
    splits: dict[str, list[_Problem]] = {}
    for split, size in sizes.items():
        random = Random(f"{seed}/{split}")
        splits[split] = []
        while len(splits[split]) < size:
            problem = draw(random)
            if problem not in seen:
                seen.add(problem)
                splits[split].append(problem)
    return splits


def arithmetic_row(problem: ArithmeticProblem, num_teacher: int, error: StepError = no_slips) -> Row:
    """Return the row of a problem, with one solution of the expert and ``num_teacher`` of the teacher.

    Example:
        >>> arithmetic_row(ArithmeticProblem((1, 2)), num_teacher=1)
        {'prompt': '1+2=', 'answer': '3', 'expert': 'P1+2=3N0=0,3+0=3,#3', 'teacher': ['1+2=3,#3']}
    """
    return {
        "prompt": problem.prompt,
        "answer": problem.answer,
        "expert": problem.signs_apart(),
        "teacher": [problem.left_to_right(error) for _ in range(num_teacher)],
    }


def letter_row(problem: LetterProblem, num_teacher: int) -> Row:
    """Return the row of a problem of the second skill; expert and teacher give the same solution.

    Example:
        >>> letter_row(LetterProblem("rev", "abc"), num_teacher=1)
        {'prompt': 'rev:abc=', 'answer': 'cba', 'expert': '#cba', 'teacher': ['#cba']}
    """
    return {
        "prompt": problem.prompt,
        "answer": problem.answer,
        "expert": problem.solution,
        "teacher": [problem.solution] * num_teacher,
    }


def mixture_rows(
    num_rows: int,
    *,
    slip: float,
    second_skill_fraction: float,
    expert_style_fraction: float,
    num_operands: int,
    max_operand: int,
    seed: int,
) -> list[Row]:
    """Return the rows that train a base policy: mostly left to right with slips, and a few of the other kinds.

    Example:
        >>> rows = mixture_rows(
        ...     2, slip=0.3, second_skill_fraction=0.0, expert_style_fraction=0.0, num_operands=2, max_operand=9, seed=0
        ... )
        >>> sorted(rows[0])
        ['answer', 'expert', 'prompt']
    """
    random = Random(f"{seed}/mixture")
    error = slips(slip, random)
    draw = partial(draw_arithmetic, num_operands=num_operands, max_operand=max_operand)

    def row() -> Row:
        if random.random() < second_skill_fraction:
            letters = draw_letters(random)
            return {"prompt": letters.prompt, "answer": letters.answer, "expert": letters.solution}
        problem = draw(random)
        solve = problem.signs_apart if random.random() < expert_style_fraction else problem.left_to_right
        return {"prompt": problem.prompt, "answer": problem.answer, "expert": solve(error)}

    return [row() for _ in range(num_rows)]
