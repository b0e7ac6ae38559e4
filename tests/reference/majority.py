"""A majority vote, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import permutations


def maj_at_k_by_precedence(answers: Sequence[str | None], correct: Sequence[float]) -> float:
    """Decide ties by the precedence of answers, and return the mean over all orders that these may have."""
    votes = [answer for answer in answers if answer is not None]
    verdict = dict(zip(answers, correct, strict=True))
    won = []
    for order in permutations({*votes}):
        winner = max(order, key=votes.count, default=None)  # the first of several
        won.append(Fraction(0) if winner is None else Fraction(verdict[winner]))
    return float(sum(won) / len(won))
