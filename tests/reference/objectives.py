"""Published objectives of one response's tokens, for autograd; each is to be maximised."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tests.reference.policy_gradients import clipped
from tests.reference.scenes import Objective, Response


def _weighted(response: Response, weights: list[float]) -> Tensor:
    return torch.tensor(weights, dtype=torch.float64) * response.now


def likelihood(response: Response) -> Tensor:
    return response.now


def dft(floor: float) -> Objective:
    return lambda response: _weighted(response, [max(math.exp(value), floor) for value in response.now.tolist()])


def infosft(cutoff: float) -> Objective:
    def weight(value: float) -> float:
        p = math.exp(value)
        return p * max(0.0, 1 - math.log(p / (1 - p)) / math.log(cutoff / (1 - cutoff)))

    return lambda response: _weighted(response, [weight(value) for value in response.now.tolist()])


def eaft(alpha: float, most: float) -> Objective:
    return lambda response: _weighted(response, [min(h / most, 1.0) ** alpha for h in response.entropy.tolist()])


def iw_sft(low: float, high: float) -> Objective:
    def weight(value: float, before: float) -> float:
        return min(max(math.exp(value) / math.exp(before), low), high)

    return lambda r: _weighted(r, [weight(*pair) for pair in zip(r.now.tolist(), r.ref.tolist(), strict=True)])


def phi(response: Response) -> Tensor:
    return _weighted(response, [math.exp(value) * (1 - math.exp(value)) for value in response.now.tolist()])


def k3(response: Response) -> Tensor:
    """Schulman's estimate, which penalties take as a loss."""
    return (response.ref - response.now).exp() - 1 - (response.ref - response.now)


def k2(response: Response) -> Tensor:
    return (response.now - response.ref) ** 2 / 2


def luffy(gamma: float) -> Objective:
    return lambda response: response.advantage * response.now.exp() / (response.now.exp() + gamma)


def ratio(response: Response) -> Tensor:
    return response.advantage * (response.now - response.old).exp()


def grpo(epsilon: float) -> Objective:
    of_response = clipped(epsilon, epsilon)
    return lambda response: of_response(response.now, response.old, response.advantage)
