"""The GFT loss and its gradient, token by token."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tests.reference.coefficients import rectified

Matrix = Sequence[Sequence[float]]


def token_weights(mask: Sequence[Sequence[bool]], reduction: str, groups: Sequence[int]) -> list[float]:
    """Return what one token of each sequence counts for in the mean; all tokens together count for 1."""
    lengths = [sum(row) for row in mask]
    weights = []
    for n in range(len(mask)):
        if lengths[n] == 0:
            weights.append(0.0)
        elif reduction == "token-mean":
            weights.append(1 / sum(lengths))
        elif reduction == "sequence-mean":
            sequences = sum(1 for length in lengths if length > 0)
            weights.append(1 / sequences / lengths[n])
        else:
            prompts = {groups[m] for m in range(len(mask)) if lengths[m] > 0}
            of_group = sum(lengths[m] for m in range(len(mask)) if groups[m] == groups[n])
            weights.append(1 / len(prompts) / of_group)
    return weights


def gft_gradient(
    logprobs: Matrix,
    advantages: Sequence[float],
    mask: Sequence[Sequence[bool]],
    threshold: float,
    reduction: str,
    groups: Sequence[int],
) -> list[list[float]]:
    """Return the derivative by each log-probability, ``-w * A * C(p)``."""
    weights = token_weights(mask, reduction, groups)
    gradient = []
    for n in range(len(mask)):
        row = []
        for t in range(len(mask[n])):
            taken = mask[n][t]
            coefficient = rectified(math.exp(logprobs[n][t]), threshold) if taken else 0.0
            row.append(-weights[n] * advantages[n] * coefficient if taken else 0.0)
        gradient.append(row)
    return gradient


def gft_loss(
    logprobs: Matrix,
    advantages: Sequence[float],
    mask: Sequence[Sequence[bool]],
    threshold: float,
    reduction: str,
    groups: Sequence[int],
) -> float:
    gradient = gft_gradient(logprobs, advantages, mask, threshold, reduction, groups)
    terms = []
    for n in range(len(mask)):
        for t in range(len(mask[n])):
            if mask[n][t]:
                terms.append(gradient[n][t] * logprobs[n][t])
    return math.fsum(terms)


def finite_differences(function: Callable[[Matrix], float], at: Matrix, width: float = 1e-3) -> list[list[float]]:
    """Return central differences of ``function`` by each entry of ``at``."""
    gradient = []
    for n in range(len(at)):
        row = []
        for t in range(len(at[n])):
            sides = []
            for shift in (width, -width):
                moved = [list(values) for values in at]
                moved[n][t] += shift
                sides.append(function(moved))
            row.append((sides[0] - sides[1]) / (2 * width))
        gradient.append(row)
    return gradient
