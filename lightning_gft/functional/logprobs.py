"""Token log-probabilities and entropy from logits."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_gft.errors import GFTValueError
from lightning_gft.functional.precision import widen
from lightning_gft.functional.rectification import floor_logprobs
from lightning_gft.types.sequences import IGNORED

_MAX_LOG_RATIO = 20.0
"""Upper bound of a log-ratio whose exponential is taken."""


def token_logprobs(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the log-probability of each target.

    Args:
        logits: ``[..., V]`` logits; half precision is widened to fp32 first.
        targets: ``[...]`` token ids.

    Returns:
        ``[...]`` log-probabilities in at least fp32.

    Example:
        >>> token_logprobs(torch.zeros(2, 4), torch.tensor([0, 3])).exp()
        tensor([0.2500, 0.2500])
    """
    logits = widen(logits)
    return logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(dim=-1)


def label_logprobs(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the log-probability of each label under the logits of the position before it; 0 elsewhere.

    The full table in fp32 exists for the labels alone, not for prompts and padding.

    Args:
        logits: ``[N, T, V]`` logits of a causal language model.
        labels: ``[N, T]`` token ids, -100 on tokens to leave out.

    Returns:
        ``[N, T]``, aligned with ``labels``: position ``t`` holds ``log pi(label t | tokens < t)``.

    Raises:
        ValueError: If the shapes do not fit.

    Example:
        >>> label_logprobs(torch.zeros(1, 3, 4), torch.tensor([[-100, 2, -100]])).exp()
        tensor([[1.0000, 0.2500, 1.0000]])
    """
    before, after, mask = _shifted(logits, labels)
    logprobs = widen(logits.new_zeros(labels.shape))
    return logprobs.masked_scatter(mask, token_logprobs(before, after))


def label_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the entropy of the distribution under which each label was predicted, in nats; 0 elsewhere.

    Args:
        logits: ``[N, T, V]`` logits of a causal language model.
        labels: ``[N, T]`` token ids, -100 on tokens to leave out.

    Returns:
        ``[N, T]``, aligned with ``labels`` as the result of :func:`label_logprobs` is.

    Raises:
        ValueError: If the shapes do not fit.

    Example:
        >>> label_entropy(torch.zeros(1, 3, 4), torch.tensor([[-100, 2, -100]])).exp()
        tensor([[1., 4., 1.]])
    """
    before, _, mask = _shifted(logits, labels)
    return widen(logits.new_zeros(labels.shape)).masked_scatter(mask, token_entropy(before))


def _shifted(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logits ``[M, V]`` before the labels ``[M]``, and the mask ``[N, T]`` of these labels."""
    if logits.dim() != 3 or labels.shape != logits.shape[:2]:
        raise GFTValueError(
            f"`logits`, `labels`: expected [N, T, V] and [N, T], got {list(logits.shape)} and {list(labels.shape)}; "
            "give the logits of these labels"
        )
    mask = labels != IGNORED
    mask[:, :1] = False
    return logits[:, :-1][mask[:, 1:]], labels[mask], mask


def token_entropy(logits: Tensor) -> Tensor:
    """Return the entropy of each distribution, in nats; an excluded token (logit of -inf) adds 0.

    Args:
        logits: ``[..., V]`` logits; half precision is widened to fp32 first.

    Returns:
        ``[...]`` entropies in at least fp32.

    Example:
        >>> token_entropy(torch.tensor([[0.0, 0.0, -torch.inf]])).exp()
        tensor([2.])
    """
    probs = widen(logits).softmax(dim=-1)
    return -torch.xlogy(probs, probs).sum(dim=-1)


def log_ratio(logprobs: Tensor, others: Tensor | None) -> Tensor:
    """Return ``log(p / q)``, detached and finite: 0 where both are the same, also at probability 0.

    Args:
        logprobs: ``log p`` of any shape, at least fp32; minus infinity counts as
            :data:`~lightning_gft.functional.rectification.LOGPROB_FLOOR`.
        others: ``log q`` of the same shape.

    Raises:
        ValueError: If ``others`` is ``None``.

    Example:
        >>> log_ratio(torch.tensor([-1.0, -torch.inf]), torch.tensor([-3.0, -torch.inf]))
        tensor([2., 0.])
    """
    if others is None:
        raise GFTValueError("`others`: expected log-probabilities, got None; name them in the needs() of the loss")
    return floor_logprobs(logprobs.detach()) - floor_logprobs(others.detach().to(logprobs.dtype))


def bounded_ratio(log_ratio: Tensor) -> Tensor:
    """Return ``p / q``, at most ``e ** 20``, so that no coefficient overflows or becomes the NaN of ``0 * inf``.

    Example:
        >>> bounded_ratio(torch.tensor([0.0, -torch.inf])), bounded_ratio(torch.tensor(1e4)).log()
        (tensor([1., 0.]), tensor(20.))
    """
    return log_ratio.clamp(max=_MAX_LOG_RATIO).exp()


def k3_divergence(log_ratio: Tensor) -> Tensor:
    """Return Schulman's k3, ``q / p - 1 + log(p / q)``: at least 0, with mean ``KL(p || q)`` over samples of ``p``.

    Example:
        >>> k3_divergence(torch.tensor([0.5, 0.0, -0.5]))
        tensor([0.1065, 0.0000, 0.1487])
    """
    return (-log_ratio).clamp(max=_MAX_LOG_RATIO).expm1() + log_ratio
