"""Token log-probabilities and entropy from logits."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_gft.functional.precision import widen


def token_logprobs(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the log-probability of each target.

    Args:
        logits: ``[..., V]``; half precision is widened to fp32 first.
        targets: ``[...]`` token ids.

    Returns:
        ``[...]``, in at least fp32.

    Example:
        >>> token_logprobs(torch.zeros(2, 4), torch.tensor([0, 3])).exp()
        tensor([0.2500, 0.2500])
    """
    logits = widen(logits)
    return logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(dim=-1)


def token_entropy(logits: Tensor) -> Tensor:
    """Return the entropy of each distribution, in nats; a token that is ruled out (logit of -inf) adds nothing.

    Args:
        logits: ``[..., V]``; half precision is widened to fp32 first.

    Returns:
        ``[...]``, in at least fp32.

    Example:
        >>> token_entropy(torch.tensor([[0.0, 0.0, -torch.inf]])).exp()
        tensor([2.])
    """
    probs = widen(logits).softmax(dim=-1)
    return -torch.xlogy(probs, probs).sum(dim=-1)
