"""One pass of a policy over whole batches, with a simple objective."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import torch
from torch import Tensor

from lightning_gft import GroupBatch, Policy, TokenBatch
from lightning_gft.types import CoefficientsFn, LossOutput, Need, TokenObjective

NORMALIZER = 7.0


def objective(tokens: TokenBatch) -> Tensor:
    return tokens.advantages * tokens.logprobs.exp() + 0.1


def weights_of(groups: GroupBatch) -> Tensor:
    """Return ``[N]``, the weight of each sequence in the objective."""
    return torch.linspace(0.5, 1.5, len(groups), dtype=groups.advantages.dtype)


def run(
    policy: Policy,
    groups: GroupBatch,
    coefficients: CoefficientsFn = objective,
    entropy: bool = False,
    needs: Set[Need] = frozenset(),
    max_tokens: int = 10**6,
    **known: Any,
) -> LossOutput:
    """Run a policy over all of a batch and return what its micro-batches give together, in the order of the batch.

    Args:
        policy: The policy.
        groups: ``N`` sequences.
        coefficients: The objective.
        entropy: Whether to return entropies.
        needs: Of the objective.
        max_tokens: Of a micro-batch.
        known: What else is known of the tokens, each ``[M]``.
    """
    tokens = groups.tokens(weights=weights_of(groups))
    for name, values in known.items():
        setattr(tokens, name, values)
    batches = policy.micro_batches(groups, max_tokens)
    outputs = [
        policy(batch, TokenObjective(coefficients, tokens[batch.index], NORMALIZER, frozenset(needs)), entropy)
        for batch in batches
    ]
    order = torch.cat([batch.index for batch in batches]).argsort()
    return LossOutput(
        torch.stack([output.loss for output in outputs]).sum(),
        torch.cat([output.logprobs for output in outputs])[order],
        torch.cat([output.coefficients for output in outputs])[order],
        torch.cat([output.entropy for output in outputs])[order] if entropy else None,
    )
