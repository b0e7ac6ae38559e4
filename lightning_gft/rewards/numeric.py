"""A reward for arriving at the right number."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_marker, check_number
from lightning_gft.rewards.base import Reward
from lightning_gft.rewards.text import after_marker, shorten

# Thousands separators count only where every group has three digits, so that "1,2345" is two numbers; a point leads a
# number only after no digit and no other point, so that "so...5" is 5.
_UNSIGNED = r"""
    (?: [0-9]{1,3} (?:,[0-9]{3})+ (?![0-9]) (?:\.[0-9]+)? | [0-9]+ (?:\.[0-9]+)? | (?<![0-9.])\.[0-9]+ )
    (?: [eE][-+]?[0-9]+ )?
"""
# A minus is a sign unless it stands right after a word, a number or a closing bracket: there it subtracts or joins.
_NUMBER = re.compile(
    rf"""
    (?: (?<![\w)\]}}%]) (?P<sign>[-+\u2212]) (?:\\?[$€£])? )?
    (?P<numerator> {_UNSIGNED} )
    (?: [ ]? / [ ]? (?P<denominator> {_UNSIGNED} ) )?
    """,
    re.VERBOSE,
)
# Longer than any answer, and so short that exact arithmetic costs nothing on a response that repeats a digit forever.
_MAX_CHARACTERS = 1000
_MAX_EXPONENT_CHARACTERS = 4


class NumericReward(Reward):
    """1 where the response's number equals the reference's, else 0.

    Read are signs, decimals (``1.5``), thousands separators (``1,234``), fractions (``3/4``) and scientific notation
    (``1.5e3``). Currency signs are passed over, and so is ``%``: ``50%`` is 50. A minus right after a word, a number or
    a closing bracket is no sign: the last number of ``3-15=-12`` is -12, of ``x=5-12`` it is 12.

    The reference, text or number, is read likewise: the first number after its last marker if it has the marker, else
    its last number.

    Args:
        marker: The response's number is the first one after the last marker, and a response without marker or number
            scores 0. Without a marker it is the response's last number.
        tolerance: Largest difference that still counts as equal: absolute, or relative to the reference. Two whole
            numbers are held to the absolute one alone: they carry no rounding error, and a relative one would let
            1,000,001 pass for 1,000,000.
        weight: What the score counts in the total.

    Raises:
        ValueError: If the tolerance is negative or not finite, or the weight not finite; on a call,
            if a reference holds no number.

    Example:
        >>> reward = NumericReward(marker="####")
        >>> reward(prompts=["6 * 200?"] * 2, responses=["6 * 200 = 1200 #### $1,200.", "1200"], references=["1200"] * 2)
        tensor([1., 0.])
    """

    def __init__(self, marker: str = "", tolerance: float = 1e-6, weight: float = 1.0) -> None:
        super().__init__(weight)
        self.tolerance = check_number(
            "tolerance", tolerance, least=0, of=type(self).__name__, remedy="0 is exactly equal"
        )
        check_marker("marker", marker)
        self.marker = marker

    def __call__(
        self, *, prompts: Sequence[str], responses: Sequence[str], references: Sequence[Any], **columns: Sequence[Any]
    ) -> Tensor:
        """Return ``[N]`` zeros and ones; see :meth:`Reward.__call__`."""
        pairs = zip(responses, references, strict=True)
        return torch.tensor([self._score(response, reference) for response, reference in pairs], dtype=torch.float32)

    @override
    def check_row(self, reference: Any, columns: Mapping[str, Any]) -> None:
        self._read_reference(reference)

    def _score(self, response: str, reference: Any) -> float:
        expected = self._read_reference(reference)
        text = after_marker(response, self.marker)
        answer = None if text is None else _read(text, first=bool(self.marker))
        return float(answer is not None and _equal(answer, expected, Fraction(self.tolerance)))

    def _read_reference(self, reference: Any) -> Fraction:
        text = str(reference)
        answer = after_marker(text, self.marker) if self.marker else None
        number = _read(text, first=False) if answer is None else _read(answer, first=True)
        if number is None:
            raise ValueError(
                f"NumericReward cannot read a number from the reference {shorten(reference)}; "
                "correct the data or choose the column that holds the answer"
            )
        return number


def _read(text: str, first: bool) -> Fraction | None:
    """Return the first or the last number of a text, ``None`` where there is none."""
    matches = list(_NUMBER.finditer(text))
    return _value(matches[0 if first else -1]) if matches else None


def _value(match: re.Match[str]) -> Fraction | None:
    numerator, denominator = _exact(match["numerator"]), _exact(match["denominator"] or "1")
    if numerator is None or not denominator:
        return None
    value = numerator / denominator
    return value if match["sign"] in (None, "+") else -value


def _exact(digits: str) -> Fraction | None:
    _, _, exponent = digits.lower().partition("e")
    if len(digits) > _MAX_CHARACTERS or len(exponent) > _MAX_EXPONENT_CHARACTERS:
        return None
    return Fraction(digits.replace(",", ""))


def _equal(answer: Fraction, expected: Fraction, tolerance: Fraction) -> bool:
    whole = answer.denominator == expected.denominator == 1
    scale = Fraction(1) if whole else max(Fraction(1), abs(expected))
    return abs(answer - expected) <= tolerance * scale
