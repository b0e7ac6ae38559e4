"""Published policy-gradient objectives, response by response, for autograd; each is to be maximised."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tests.reference.losses import token_weights

OfResponse = Callable[[Tensor, Tensor, float], Tensor]
"""The objective of each token of a response: log-probabilities ``[t]`` now and before the first update, advantage."""


def clipped(low: float, high: float, delta: float = math.inf) -> OfResponse:
    def objective(now: Tensor, old: Tensor, advantage: float) -> Tensor:
        ratio = (now - old).exp()
        return torch.minimum(ratio.clamp(max=delta) * advantage, ratio.clamp(1 - low, 1 + high) * advantage)

    return objective


def clipped_response(low: float, high: float) -> OfResponse:
    def objective(now: Tensor, old: Tensor, advantage: float) -> Tensor:
        ratio = (now - old).mean().exp()
        best = torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)
        return best.expand(len(now))  # whose mean over the response it is

    return objective


def capped(ceiling: float) -> OfResponse:
    def objective(now: Tensor, old: Tensor, advantage: float) -> Tensor:
        return (now - old).exp().detach().clamp(max=ceiling) * advantage * now

    return objective


def proximal(high: float) -> OfResponse:
    def objective(now: Tensor, old: Tensor, _: float) -> Tensor:
        return (now - old).exp().clamp(max=1 + high)

    return objective


def averaged(
    of_response: OfResponse,
    logprobs: Sequence[Tensor],
    old: Sequence[Tensor],
    advantages: Sequence[float],
    groups: Sequence[int],
    reduction: str,
    max_completion_length: int = 0,
) -> Tensor:
    """Return the objective of responses ``[t]`` each, averaged over tokens, responses, groups or a constant length."""
    if reduction == "constant-length":
        weights = [1 / len(logprobs) / max_completion_length] * len(logprobs)
    else:
        weights = token_weights([[True] * len(response) for response in logprobs], reduction, groups)
    total = torch.zeros((), dtype=torch.float64)
    for weight, now, before, advantage in zip(weights, logprobs, old, advantages, strict=True):
        total = total + weight * of_response(now, before, advantage).sum()
    return total
