r"""Judges a response: whether its answer equals one of the references."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from lightning_gft.answers.algebra import begin, equal_by_algebra, is_undefined, parse_formula
from lightning_gft.answers.comparison import Algebra, Comparer
from lightning_gft.answers.extraction import SOLUTION_MARKER, THOUGHT_ENDS, find_answer, in_boxes, is_box_open
from lightning_gft.answers.latex import tidy
from lightning_gft.answers.numbers import Quantity, read_quantity
from lightning_gft.answers.shapes import Shape, read_shape
from lightning_gft.answers.texts import choice_agrees, read_words, same_text
from lightning_gft.errors import GFTValueError

LONGEST_ANSWER = 5_000
"""Characters of the longest answer to judge. A longer one is right only if it is identical to a reference."""

_THOUGHT_BEGINS = "<think>"
_MORE_FOLLOWS = re.compile(r"[=,;] ?\$?$")


class NeedsAlgebraError(Exception):
    """The verdict needs algebra, which this process does not run."""


class TooLongError(GFTValueError):
    """An answer that is too long to be judged."""


@dataclass(frozen=True)
class Judge:
    r"""Compares answers with references. A task for worker processes, as algebra may need much time and memory.

    Args:
        float_rounding: Decimals that must agree if one of two numbers is written with decimals.
        numeric_precision: Digits to which math-verify evaluates formulas.

    Example:
        >>> judge = Judge()
        >>> judge.is_right(read_answer(r"so it is \boxed{\sqrt{12}}"), [r"2\sqrt{3}"])
        True
        >>> judge.is_right_cheaply(read_answer("3 or 4"), ["3"]), judge.is_right_cheaply(read_answer("2x"), ["x+x"])
        (False, None)
    """

    float_rounding: int = 6
    numeric_precision: int = 15

    def preload(self) -> None:
        """Import and initialise what the first answer would otherwise wait for."""
        begin()

    def __call__(self, item: tuple[Sequence[str], Sequence[str]] | str) -> float:
        """Return 1 if an answer equals one of its references or, for a single text, if that reference is readable."""
        return float(is_readable(item) if isinstance(item, str) else self.is_right(*item))

    def is_right(self, answer: Sequence[str], references: Sequence[str]) -> bool:
        """Return whether an answer, as :func:`read_answer` returns it, equals one of the references."""

        def algebra(formula: str, expected: str) -> bool:
            return equal_by_algebra(
                formula, expected, float_rounding=self.float_rounding, numeric_precision=self.numeric_precision
            )

        return _verdict(answer, references, Comparer(algebra, self.float_rounding))

    def is_right_cheaply(self, answer: Sequence[str], references: Sequence[str]) -> bool | None:
        """Return the verdict, or ``None`` if it needs algebra.

        Raises:
            TooLongError: If the answer is longer than ``LONGEST_ANSWER`` and not identical to a reference.
        """
        try:
            return _verdict(answer, references, Comparer(_without_algebra, self.float_rounding))
        except NeedsAlgebraError:
            return None


def read_answer(response: str) -> tuple[str, ...]:
    r"""Return the normalised readings of a response's answer: as written, and without surrounding words.

    Example:
        >>> read_answer(r"The answer is $\dfrac{3}{4}$ of it."), read_answer("")
        (('\\frac{3}{4} of it', '\\frac{3}{4}'), ())
    """
    return tuple(dict.fromkeys(tidy(one) if len(one) <= LONGEST_ANSWER else one for one in find_answer(response)))


def _without_algebra(*_: str) -> bool:
    raise NeedsAlgebraError


def _verdict(answer: Sequence[str], references: Sequence[str], comparer: Comparer) -> bool:
    if answer and (length := max(map(len, answer))) > LONGEST_ANSWER:
        if any(one == answer_in(reference) for one in answer for reference in references):
            return True
        raise TooLongError(f"expected an answer of at most {LONGEST_ANSWER} characters, got one of {length}")
    undecided = False
    for reference in references if answer else ():
        try:
            if _agrees(answer, reference, comparer):
                return True
        except NeedsAlgebraError:
            undecided = True  # another reference may decide
    if undecided:
        raise NeedsAlgebraError
    return False


def _agrees(answers: Sequence[str], reference: str, comparer: Comparer) -> bool:
    if (read := read_expected(reference)) is None:
        return False
    expected, shape, quantity = read
    if any(same_text(answer, expected) for answer in answers):
        return True
    last = answers[-1]
    if quantity is not None and last[:1] not in "([" and (number := read_quantity(last)) is not None:
        return comparer.same_quantity(number, quantity)  # the most frequent case by far
    for answer in answers:
        if (chosen := choice_agrees(answer, expected)) is not None:
            return chosen
    if (words := read_words(expected)) is not None and any(read_words(answer) == words for answer in answers):
        return True
    return comparer.agree(read_shape(last), shape)


@lru_cache(maxsize=20_000)
def read_expected(reference: str) -> tuple[str, Shape, Quantity | None] | None:
    """Return a reference as a normalised text, a shape and, if it is one, a number; ``None`` if it is too long."""
    answer = answer_in(reference)
    if len(answer) > LONGEST_ANSWER:
        return None
    expected = tidy(answer)
    shape = read_shape(expected)
    return expected, shape, read_quantity(expected) if shape.kind == "one" and not shape.name else None


def answer_in(reference: str) -> str:
    r"""Return the answer in a reference: the one in its box or after the marker of a worked solution, or all of it.

    Text before the end of a thought is ignored, as in a response.

    Example:
        >>> answer_in("6 * 7 = 42\n#### 42"), answer_in("x + 1")
        (' 42', 'x + 1')
    """
    reference = reference.rpartition(THOUGHT_ENDS)[2]
    inside = in_boxes(reference)
    return reference.rpartition(SOLUTION_MARKER)[2] if inside is None else inside


def is_readable_cheaply(reference: str) -> bool | None:
    """Return whether a reference is readable, or ``None`` if that needs algebra.

    Example:
        >>> [is_readable_cheaply(text) for text in ("12 cm", "yes", "(B)", "", "x+1")]
        [True, True, True, False, None]
    """
    try:
        return is_readable(reference, _without_algebra)
    except NeedsAlgebraError:
        return None


def _by_math_verify(formula: str, _: str) -> bool:
    parsed = parse_formula(formula)
    return bool(parsed) and not is_undefined(parsed[0])


def is_readable(reference: str, algebra: Algebra = _by_math_verify) -> bool:
    """Return whether a reference is readable; ``algebra`` decides whether a single text is a formula."""
    read = read_expected(reference)
    if read is None or not read[0] or _is_unfinished(reference):
        return False
    expected, shape, quantity = read
    return quantity is not None or choice_agrees(expected, expected) is True or _all_readable(shape, algebra)


def _is_unfinished(reference: str) -> bool:
    """Return whether the end of an answer is missing: after an equals sign or a comma, in a box or in a thought."""
    answer = answer_in(reference)
    return is_box_open(reference) or _THOUGHT_BEGINS in answer or _MORE_FOLLOWS.search(answer.strip()) is not None


def _all_readable(shape: Shape, algebra: Algebra) -> bool:
    if shape.kind != "one":
        return all(_all_readable(part, algebra) for part in shape.parts)
    text = shape.text
    is_letter = len(text) == 1 and text.isalpha()
    return is_letter or read_quantity(text) is not None or read_words(text) is not None or algebra(text, text)
