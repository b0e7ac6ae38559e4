"""What a rectifier reports, token by token."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence


def rectifier_statistics(logprobs: Sequence[float], coefficient: Callable[[float], float]) -> dict[str, float]:
    """Return the statistics of tokens with these log-probabilities and ``coefficient(p)``."""
    probs = [math.exp(value) for value in logprobs]
    coefficients = [coefficient(prob) for prob in probs]
    before = [1 / prob for prob in probs]
    after = [c / prob for c, prob in zip(coefficients, probs, strict=True)]
    number = max(len(probs), 1)
    return {
        "rectified_fraction": sum(c != 1 for c in coefficients) / number,
        "coefficient_mean": math.fsum(coefficients) / number,
        "inverse_probability_mean": math.fsum(before) / number,
        "inverse_probability_max": max(before, default=0.0),
        "rectified_weight_mean": math.fsum(after) / number,
        "rectified_weight_max": max(after, default=0.0),
    }
