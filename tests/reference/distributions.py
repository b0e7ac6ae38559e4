"""Log-probability and entropy of one row of logits."""

from __future__ import annotations

import math
from collections.abc import Sequence


def logprob(logits: Sequence[float], target: int) -> float:
    highest = max(logits)
    normalizer = math.fsum(math.exp(logit - highest) for logit in logits)
    return logits[target] - highest - math.log(normalizer)


def entropy(logits: Sequence[float]) -> float:
    terms = []
    for token in range(len(logits)):
        value = logprob(logits, token)
        if value != -math.inf:
            terms.append(-math.exp(value) * value)
    return math.fsum(terms)
