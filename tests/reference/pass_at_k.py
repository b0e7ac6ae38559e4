"""pass@k, exactly."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations


def pass_at_k_by_counting(num_samples: int, num_correct: int, k: int) -> float:
    wrong = math.comb(num_samples - num_correct, k)
    return float(1 - Fraction(wrong, math.comb(num_samples, k)))


def pass_at_k_by_enumeration(num_samples: int, num_correct: int, k: int) -> float:
    """Draw every subset of ``k`` samples, of which the first ``num_correct`` are correct."""
    passed = [any(sample < num_correct for sample in drawn) for drawn in combinations(range(num_samples), k)]
    return sum(passed) / len(passed)
