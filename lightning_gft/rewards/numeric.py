"""A reward for responses that arrive at the right number."""

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
    r"""1 if the response's number equals the reference's, else 0.

    A *number* is a text such as ``-12``, ``1,234.5``, ``1 234``, ``3/4``, ``\frac{3}{4}``, ``3 1/2``, ``1.5e3``,
    ``5 \times 10^3`` or ``1.5 million``, with or without currency sign, percent and unit; ``50%`` is 50.
    ``docs/rewards.md`` has the whole table. A root, an interval, a power, a list, a ratio, a sum and anything else
    beyond a number is no number, and no part of it is read as one.

    The response's number is its last expression, in a ``\boxed{}`` if there is one. A response whose last expression is
    no number scores 0. The reference must *be* a number: by itself, in a ``\boxed{}`` or after a marker. A list of
    references accepts any of them.

    Args:
        marker: Text before the number: the first expression after the last marker counts, and a response without
            marker or number scores 0. A reference is read after the marker, or after ``####``, if it has one.
        tolerance: Largest difference of equal numbers, absolute or relative to the reference. For two whole numbers
            only the absolute one applies: they carry no rounding error, and a relative one would accept 1,000,001 for
            1,000,000.
        weight: Weight of the score in the total.

    Raises:
        ValueError: If the tolerance is negative or not finite, or the weight is not finite; on a call,
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


_find_number = lru_cache(maxsize=4096)(find_number)  # a response is first scored, then its answer is read again


def _equal(answer: Fraction, expected: Fraction, tolerance: Fraction) -> bool:
    whole = answer.denominator == expected.denominator == 1
    scale = Fraction(1) if whole else max(Fraction(1), abs(expected))
    return abs(answer - expected) <= tolerance * scale
