"""A reward for arriving at the right number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from numbers import Real
from typing import Any

from typing_extensions import override

from lightning_gft.answers.extraction import SOLUTION_MARKER
from lightning_gft.answers.numbers import find_number, read_number, write_number
from lightning_gft.checks import check_number
from lightning_gft.errors import GFTValueError
from lightning_gft.rewards.references import ReferenceReward
from lightning_gft.rewards.text import after_marker, shown


class NumericReward(ReferenceReward[Fraction]):
    r"""1 where the response's number equals the reference's, else 0.

    A *number* is text such as ``-12``, ``1,234.5``, ``1 234``, ``3/4``, ``\frac{3}{4}``, ``3 1/2``, ``1.5e3``,
    ``5 \times 10^3`` or ``1.5 million``, with or without currency sign, percent and unit; ``50%`` is 50. The
    documentation of the rewards has the whole table. A root, an interval, a power, a list, a ratio, a sum and whatever
    else is more than a number counts as none, and no piece of it is read.

    The response's number is its last expression, in a ``\boxed{}`` if there is one: a response whose last expression is
    no number scores 0. The reference *is* a number, on its own, in a ``\boxed{}`` or after a marker; a list of
    references means any of them.

    Args:
        marker: The response's number is the first expression after the last marker, and a response without marker or
            number scores 0. A reference that has the marker is read after it, as one is after ``####`` in any case.
        tolerance: Largest difference that still counts as equal: absolute, or relative to the reference. Two whole
            numbers are held to the absolute one alone: they carry no rounding error, and a relative one would let
            1,000,001 pass for 1,000,000.
        weight: What the score counts in the total.

    Raises:
        ValueError: If the tolerance is negative or not finite, or the weight not finite; on a call,
            if a reference is not a number.

    Example:
        >>> reward = NumericReward(marker="####")
        >>> reward(prompts=["6 * 200?"] * 2, responses=["6 * 200 = 1200 #### $1,200.", "1200"], references=["1200"] * 2)
        tensor([1., 0.])
    """

    def __init__(self, marker: str = "", tolerance: float = 1e-6, weight: float = 1.0) -> None:
        super().__init__(marker, weight)
        self.tolerance = check_number(
            "tolerance", tolerance, least=0, of=type(self).__name__, remedy="0 is exactly equal"
        )

    @override
    def agrees(self, response: str, expected: Sequence[Fraction]) -> bool:
        answer = self._number(response)
        tolerance = Fraction(self.tolerance)
        return answer is not None and any(_equal(answer, one, tolerance) for one in expected)

    @override
    def read_reference(self, reference: Any) -> Fraction:
        number = None
        if isinstance(reference, str):
            number = read_number(self._answer_in(reference))
        elif isinstance(reference, Real | Decimal) and not isinstance(reference, bool):
            number = read_number(str(reference))
        if number is None:
            raise GFTValueError(
                f"the reference of NumericReward: expected a text that is one number, got {shown(reference)}; "
                "correct the data, choose the column that holds the number, or name the marker before it as `marker`"
            )
        return number

    @override
    def reads_answers(self) -> bool:
        return True

    @override
    def read_answer(self, response: str, columns: Mapping[str, Any]) -> str | None:
        number = self._number(response)
        return None if number is None else write_number(number)

    def _number(self, response: str) -> Fraction | None:
        text = after_marker(response, self.marker)
        return None if text is None else _find_number(text, bool(self.marker))

    def _answer_in(self, reference: str) -> str:
        for marker in filter(None, (self.marker, SOLUTION_MARKER)):
            if (answer := after_marker(reference, marker)) is not None:
                return answer
        return reference


_find_number = lru_cache(maxsize=4096)(find_number)  # a response is scored, and then its answer is read


def _equal(answer: Fraction, expected: Fraction, tolerance: Fraction) -> bool:
    whole = answer.denominator == expected.denominator == 1
    scale = Fraction(1) if whole else max(Fraction(1), abs(expected))
    return abs(answer - expected) <= tolerance * scale
