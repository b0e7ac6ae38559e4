"""The output projection, log-probabilities and their gradient in one pass over chunks of tokens.

Every objective here is ``-sum_t c_t * log p_t`` with coefficients that carry no gradient and are elementwise in the
tokens. The gradient of the logits, ``c_t * (softmax - onehot)``, is then known as soon as the log-probabilities are, so
a chunk's logits are used for loss, entropy and gradient and thrown away: three matrix products, no ``[M, V]`` tensor
kept, nothing computed again in backward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lightning_gft.functional.precision import widen
from lightning_gft.functional.rectification import floor_logprobs

ChunkCoefficientsFn = Callable[[Tensor, slice], Tensor]
"""Coefficients ``[m]`` of a chunk from its log-probs ``[m]`` and where it stands in ``[M]``."""

_CHUNK_ELEMENTS = 2**25
"""Logits of a chunk: 128 MiB in fp32, far below a model's activations and large enough for full-speed products."""


@dataclass(frozen=True)
class LinearHead:
    """What follows the output projection: ``softcap * tanh(logit_scale * (W h + b) / softcap)``.

    Args:
        softcap: Gemma's bound on the logits.
        logit_scale: Cohere's and Granite's factor.

    Example:
        >>> LinearHead(softcap=2.0).logits(torch.tensor([0.0, 100.0]))
        tensor([0., 2.])
    """

    softcap: float | None = None
    logit_scale: float = 1.0

    def logits(self, projected: Tensor) -> Tensor:
        """Return the logits of what the projection gave."""
        logits = projected * self.logit_scale if self.logit_scale != 1 else projected
        return self.softcap * torch.tanh(logits / self.softcap) if self.softcap else logits

    def projection_gradient(self, gradient: Tensor, logits: Tensor) -> Tensor:
        """Return the gradient of what the projection gave from that of the logits."""
        if self.softcap:
            gradient = gradient * (1 - (logits / self.softcap).square())
        return gradient * self.logit_scale if self.logit_scale != 1 else gradient


def linear_logprob_loss(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    coefficients: ChunkCoefficientsFn,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    temperature: float = 1.0,
    chunk_size: int | None = None,
    entropy: bool = False,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return ``-sum_t c_t * log p_t`` through a linear head, with the log-probabilities and, if asked, entropies.

    Logits are ``softcap * tanh((hidden @ weight.T + bias) * logit_scale / softcap) / temperature``, the soft-cap only
    where given.

    Args:
        hidden: ``[M, H]`` hidden states, one a token to predict.
        weight: ``[V, H]``. No gradient is formed for it if it needs none.
        targets: ``[M]`` token ids.
        coefficients: Called once a chunk with log-probs ``[m]`` and their slice of ``[M]``; returns ``[m]``, detached.
        bias: ``[V]``.
        softcap: Gemma's bound on the logits.
        logit_scale: Cohere's and Granite's factor.
        temperature: Divides the logits.
        chunk_size: Tokens a chunk; by default as many as keep a chunk's logits at 128 MiB in fp32.
        entropy: Whether to return entropies.

    Returns:
        Scalar loss, log-probs ``[M]`` and entropies ``[M]`` or ``None``, in at least fp32. Gradient flows through the
        loss alone, once.

    Raises:
        ValueError: If shapes do not fit or ``chunk_size`` is below 1.

    Example:
        >>> hidden, weight = torch.eye(2, requires_grad=True), torch.eye(2)
        >>> loss, logprobs, _ = linear_logprob_loss(
        ...     hidden, weight, torch.tensor([0, 1]), lambda logprobs, index: torch.ones_like(logprobs)
        ... )
        >>> loss, logprobs.exp()
        (tensor(0.6265, grad_fn=<_LinearLogprobLossBackward>), tensor([0.7311, 0.7311]))
    """
    if (
        hidden.dim() != 2
        or weight.dim() != 2
        or hidden.shape[1] != weight.shape[1]
        or targets.shape != hidden.shape[:1]
    ):
        raise ValueError(
            "expected hidden [M, H], weight [V, H] and targets [M]; got "
            f"{tuple(hidden.shape)}, {tuple(weight.shape)} and {tuple(targets.shape)}"
        )
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size={chunk_size} must be at least 1 token")
    # Dividing by the temperature after the soft-cap is soft-capping lower what was divided before.
    head = LinearHead(softcap / temperature if softcap else None, logit_scale / temperature)
    if not torch.is_grad_enabled():
        hidden, weight, bias = hidden.detach(), weight.detach(), None if bias is None else bias.detach()
    if chunk_size is None:
        chunk_size = max(1, _CHUNK_ELEMENTS // len(weight))
    loss, logprobs, entropies = _LinearLogprobLoss.apply(  # type: ignore[no-untyped-call]
        hidden, weight, bias, targets, coefficients, head, chunk_size, entropy
    )
    return loss, logprobs, entropies


class _LinearLogprobLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        coefficients: ChunkCoefficientsFn,
        head: LinearHead,
        chunk_size: int,
        entropy: bool,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        hidden, weight, bias = _autocast(hidden), _autocast(weight), None if bias is None else _autocast(bias)
        wide = torch.promote_types(hidden.dtype, torch.float32)
        need_hidden, need_weight, need_bias = ctx.needs_input_grad[:3]
        loss = hidden.new_zeros((), dtype=wide)
        logprobs = hidden.new_empty(len(hidden), dtype=wide)
        entropies = hidden.new_empty(len(hidden), dtype=wide) if entropy else None
        hidden_grad = torch.empty_like(hidden) if need_hidden else None
        weight_grad = torch.zeros_like(weight, dtype=wide) if need_weight else None
        bias_grad = torch.zeros_like(bias, dtype=wide) if bias is not None and need_bias else None

        for start in range(0, len(hidden), chunk_size):
            index = slice(start, start + chunk_size)
            logits = head.logits(widen(torch.nn.functional.linear(hidden[index], weight, bias)))
            chunk_targets = targets[index].unsqueeze(1)
            log_normalizer = logits.logsumexp(dim=1, keepdim=True)
            logprobs[index] = (logits.gather(1, chunk_targets) - log_normalizer).squeeze(1)
            scale = coefficients(logprobs[index], index).to(wide)
            loss -= torch.where(scale == 0, 0.0, scale * floor_logprobs(logprobs[index])).sum()
            if not (entropy or need_hidden or need_weight or need_bias):
                continue
            probs = (logits - log_normalizer).exp_()
            if entropies is not None:
                # H = log Z - E[logit]; a ruled-out token has probability 0 and logit -inf, and adds nothing.
                expected = (probs * logits.clamp(min=torch.finfo(wide).min)).sum(dim=1)
                entropies[index] = log_normalizer.squeeze(1) - expected
            gradient = probs.scatter_add_(1, chunk_targets, torch.full_like(chunk_targets, -1, dtype=wide))
            gradient = head.projection_gradient(gradient.mul_(scale.unsqueeze(1)), logits).to(hidden.dtype)
            if hidden_grad is not None:
                hidden_grad[index] = gradient @ weight
            if weight_grad is not None:
                weight_grad += gradient.mT @ hidden[index]
            if bias_grad is not None:
                bias_grad += gradient.sum(dim=0, dtype=wide)

        ctx.save_for_backward(hidden_grad, weight_grad, bias_grad)
        ctx.mark_non_differentiable(*(t for t in (logprobs, entropies) if t is not None))
        return loss, logprobs, entropies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        hidden_grad, weight_grad, bias_grad = (
            None if grad is None else (grad * grad_loss).to(grad.dtype) for grad in ctx.saved_tensors
        )
        return hidden_grad, weight_grad, bias_grad, None, None, None, None, None


def _autocast(tensor: Tensor) -> Tensor:
    device = tensor.device.type
    # As autocast itself does, leave double precision alone.
    lower = torch.is_autocast_enabled(device) and tensor.dtype != torch.float64
    return tensor.to(torch.get_autocast_dtype(device)) if lower else tensor
