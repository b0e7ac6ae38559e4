"""Token log-probabilities and entropy from logits."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_gft.errors import GFTValueError
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


def log_ratio(logprobs: Tensor, others: Tensor | None) -> Tensor:
    """Return ``log(p / q)``, detached; 0 where both are the same, also at probability 0.

    Args:
        logprobs: ``log p``, of any shape, at least fp32.
        others: ``log q``, same shape.

    Raises:
        ValueError: If there are no others.

    Example:
        >>> log_ratio(torch.tensor([-1.0, -torch.inf]), torch.tensor([-3.0, -torch.inf]))
        tensor([2., 0.])
    """
    if others is None:
        raise GFTValueError("`others`: expected log-probabilities, got None; name them in the needs() of the loss")
    logprobs, others = logprobs.detach(), others.detach().to(logprobs.dtype)
    return torch.where(logprobs == others, 0.0, logprobs - others)
