r"""The verdict on a response: whether its answer is one of those that are acceptable."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial

from lightning_gft.answers.algebra import equal_by_algebra
from lightning_gft.answers.comparison import Algebra, Comparer
from lightning_gft.answers.extraction import find_answer, in_boxes
from lightning_gft.answers.latex import tidy
from lightning_gft.answers.numbers import Quantity, read_quantity
from lightning_gft.answers.shapes import Shape, read_shape
from lightning_gft.answers.texts import choice_agrees, read_words, same_text

_LONGEST = 5_000
"""Characters of an answer; a longer one is right only where it is the reference's text."""


class NeedsAlgebraError(Exception):
    """The verdict needs algebra, which this process does not do."""


def judge(response: str, references: Sequence[str], *, float_rounding: int = 6, numeric_precision: int = 15) -> bool:
    r"""Say whether the answer of a response is one of the references; may take long, and any amount of memory.

    Example:
        >>> judge(r"so it is \boxed{\sqrt{12}}", [r"2\sqrt{3}"]), judge("3 or 4", ["3"])
        (True, False)
    """
    algebra = partial(equal_by_algebra, float_rounding=float_rounding, numeric_precision=numeric_precision)
    return _verdict(response, references, algebra, float_rounding)


def judge_cheaply(response: str, references: Sequence[str], *, float_rounding: int = 6) -> bool | None:
    """Return the verdict where it needs no algebra, else ``None``.

    Example:
        >>> judge_cheaply("1,234.0", ["1234"]), judge_cheaply("2x", ["x+x"]) is None
        (True, True)
    """
    try:
        return _verdict(response, references, _refuse, float_rounding)
    except NeedsAlgebraError:
        return None


def _refuse(answer: str, expected: str) -> bool:
    raise NeedsAlgebraError


def _verdict(response: str, references: Sequence[str], algebra: Algebra, float_rounding: int) -> bool:
    answers = [tidy(one) if len(one) <= _LONGEST else one for one in find_answer(response)]
    if not answers:
        return False
    comparer = Comparer(algebra, float_rounding)
    undecided = False
    for reference in references:
        try:
            if _agrees(answers, reference, comparer):
                return True
        except NeedsAlgebraError:
            undecided = True  # another reference may decide
    if undecided:
        raise NeedsAlgebraError
    return False


def _agrees(answers: Sequence[str], reference: str, comparer: Comparer) -> bool:
    expected, shape, quantity = read_expected(reference)
    if any(same_text(answer, expected) for answer in answers):
        return True
    for answer in answers:
        if (chosen := choice_agrees(answer, expected)) is not None:
            return chosen
    if (words := read_words(expected)) is not None and any(read_words(answer) == words for answer in answers):
        return True
    last = answers[-1]
    if len(last) > _LONGEST:
        return False
    if quantity is not None and last[:1] not in "([" and (number := read_quantity(last)) is not None:
        return comparer.same_quantity(number, quantity)  # the most frequent case by far
    return comparer.agree(read_shape(last), shape)


@lru_cache(maxsize=20_000)
def read_expected(reference: str) -> tuple[str, Shape, Quantity | None]:
    """Return a reference as a tidied text, as a shape, and as a number where it is one."""
    expected = tidy(answer_in(reference))
    shape = read_shape(expected)
    return expected, shape, read_quantity(expected) if shape.kind == "one" and not shape.name else None


def answer_in(reference: str) -> str:
    r"""Return the answer in a reference: that of a worked solution, in its box or after its marker, or all of it.

    Example:
        >>> answer_in("6 * 7 = 42\n#### 42"), answer_in("x + 1")
        (' 42', 'x + 1')
    """
    if (inside := in_boxes(reference)) is not None:
        return inside
    return reference.rpartition("####")[2] if "####" in reference else reference
