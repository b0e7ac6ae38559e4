"""The problems of a task that a small model learns in minutes: sums solved step by step, and an unrelated second skill.

A problem is a chain of sums and differences, ``12+7-5=``. Its solution writes down every step, then ``#`` and the
answer, in one of two styles:

* *left to right*, the style of the base policy and the teacher: ``12+7=19,19-5=14,#14``
* *signs apart*, the style of the expert: ``P`` precedes the sum of the added numbers, ``N`` that of the subtracted
  ones, and the last step combines the two: ``P12+7=19N5=5,19-5=14,#14``. Each sum proceeds step by step; a single
  number is written as equal to itself, and an empty side is 0: ``P3+4=7,7+5=12N0=0,12+0=12,#12``.

So every step combines two numbers. A *slip* is a step with a slightly wrong result; later steps continue from it.

The second skill is to reverse or to sort letters, ``rev:hdkle=`` and ``sort:hdkle=``. It has no relation to sums,
so it shows what a policy forgets while it trains on them.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

ANSWER_MARKER = "#"
"""Text before the answer of a solution."""

ARITHMETIC_ALPHABET = string.digits + string.ascii_lowercase + "+-=,:NP" + ANSWER_MARKER
"""All characters of prompts and solutions."""

_SMALL_ERRORS = (-3, -2, -1, 1, 2, 3)

StepError = Callable[[], int]
"""Returns the error to add to the next step's result."""


def no_slips() -> int:
    """Return 0, the error of a correct step.

    Example:
        >>> no_slips()
        0
    """
    return 0


def slips(probability: float, random: Random) -> StepError:
    """Return a function that draws the error of each step: a slip with the given probability, else 0.

    Example:
        >>> always = slips(1.0, Random(0))
        >>> 0 in {always() for _ in range(100)}
        False
    """
    return lambda: random.choice(_SMALL_ERRORS) if random.random() < probability else 0


@dataclass(frozen=True)
class ArithmeticProblem:
    """A chain of sums and differences.

    Args:
        terms: Two or more numbers with their signs; the first is not negative.

    Example:
        >>> problem = ArithmeticProblem((12, 7, -5))
        >>> problem.prompt, problem.answer
        ('12+7-5=', '14')
    """

    terms: tuple[int, ...]

    @property
    def prompt(self) -> str:
        """The problem as text, up to the equals sign."""
        return f"{self.terms[0]}{''.join(f'{term:+d}' for term in self.terms[1:])}="

    @property
    def answer(self) -> str:
        """The correct result as text."""
        return str(sum(self.terms))

    def left_to_right(self, error: StepError = no_slips) -> str:
        """Return a solution in the style of the base policy and the teacher."""
        steps, result = _sum_up(self.terms, error)
        return f"{steps},{ANSWER_MARKER}{result}"

    def signs_apart(self, error: StepError = no_slips) -> str:
        """Return a solution in the style of the expert."""
        added, positive = _sum_up([term for term in self.terms if term >= 0], error)
        subtracted, negative = _sum_up([-term for term in self.terms if term < 0] or [0], error)
        last, result = _sum_up((positive, -negative), error)
        return f"P{added}N{subtracted},{last},{ANSWER_MARKER}{result}"


@dataclass(frozen=True)
class LetterProblem:
    """Letters to reverse or to sort.

    Args:
        skill: ``"rev"`` reverses the letters, ``"sort"`` sorts them.
        letters: Lowercase letters without separators.

    Example:
        >>> problem = LetterProblem("sort", "hdkle")
        >>> problem.prompt, problem.answer, problem.solution
        ('sort:hdkle=', 'dehkl', '#dehkl')
    """

    skill: Literal["rev", "sort"]
    letters: str

    @property
    def prompt(self) -> str:
        """The problem as text, up to the equals sign."""
        return f"{self.skill}:{self.letters}="

    @property
    def answer(self) -> str:
        """The correct result as text."""
        return self.letters[::-1] if self.skill == "rev" else "".join(sorted(self.letters))

    @property
    def solution(self) -> str:
        """The answer after its marker; this skill has no intermediate steps."""
        return ANSWER_MARKER + self.answer


def draw_arithmetic(random: Random, num_operands: int = 3, max_operand: int = 30) -> ArithmeticProblem:
    """Draw a chain of sums and differences.

    Example:
        >>> draw_arithmetic(Random(0), num_operands=2) == draw_arithmetic(Random(0), num_operands=2)
        True
    """
    sizes = [random.randint(0, max_operand) for _ in range(num_operands)]
    return ArithmeticProblem((sizes[0], *(random.choice((size, -size)) for size in sizes[1:])))


def draw_letters(random: Random) -> LetterProblem:
    """Draw four to six letters to reverse or to sort.

    Example:
        >>> len(draw_letters(Random(0)).letters) in (4, 5, 6)
        True
    """
    letters = random.choices(string.ascii_lowercase, k=random.randint(4, 6))
    return LetterProblem(random.choice(("rev", "sort")), "".join(letters))


def _sum_up(numbers: Sequence[int], error: StepError) -> tuple[str, int]:
    """Return the steps that add the numbers one by one, and their result."""
    result = numbers[0]
    if len(numbers) == 1:
        return f"{result}={result}", result
    steps = []
    for number in numbers[1:]:
        total = result + number + error()
        steps.append(f"{result}{number:+d}={total}")
        result = total
    return ",".join(steps), result
