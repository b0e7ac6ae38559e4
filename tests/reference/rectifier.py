"""What is reported of weights, token by token."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence


def rectifier_statistics(logprobs: Sequence[float], coefficient: Callable[[float], float]) -> dict[str, float]:
    """Return the statistics of tokens with these log-probabilities and ``coefficient(p)``."""
    return weight_statistics(logprobs, [coefficient(math.exp(value)) for value in logprobs])


def weight_statistics(logprobs: Sequence[float], coefficients: Sequence[float]) -> dict[str, float]:
    """Return the statistics of tokens with these log-probabilities and coefficients."""
    before = [math.exp(min(-value, 600.0)) for value in logprobs]
    after = [abs(c) * weight for c, weight in zip(coefficients, before, strict=True)]
    number = max(len(before), 1)
    return {
        "rectified_fraction": sum(c != 1 for c in coefficients) / number,
        "coefficient_mean": math.fsum(coefficients) / number,
        "inverse_probability_mean": math.fsum(before) / number,
        "inverse_probability_p99": rounded(exact_quantile(before, 0.99), before),
        "inverse_probability_max": max(before, default=0.0),
        "rectified_weight_mean": math.fsum(after) / number,
        "rectified_weight_p99": rounded(exact_quantile(after, 0.99), after),
        "rectified_weight_max": max(after, default=0.0),
    }


def exact_quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least ``share`` of all do not exceed; 0 of none."""
    wanted = share * len(values)
    return next((value for n, value in enumerate(sorted(values), start=1) if n >= wanted), 0.0)


def rounded(value: float, values: Sequence[float]) -> float:
    """Return the nearest eighth of an octave from 2^-24 to 2^64, which no value exceeds; above, the largest value."""
    if value == 0 or (eighths := round(8 * math.log2(value))) > 512:
        return value if value == 0 else max(values)
    return min(2 ** (max(eighths, -193) / 8), max(values))
