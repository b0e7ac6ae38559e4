"""The output head with all logits at once, for autograd."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def full_logits(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    temperature: float = 1.0,
) -> Tensor:
    logits = hidden @ weight.T
    if bias is not None:
        logits = logits + bias
    logits = logits * logit_scale
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    return logits / temperature


def full_logits_loss(
    logits: Tensor, targets: Tensor, coefficients: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return loss, log-probabilities and entropies; ``coefficients`` sees detached log-probabilities."""
    log_softmax = torch.log_softmax(logits, dim=1)
    logprobs = log_softmax[torch.arange(len(targets)), targets]
    entropies = -(log_softmax.exp() * log_softmax).sum(dim=1)
    return -(coefficients(logprobs.detach()) * logprobs).sum(), logprobs, entropies
