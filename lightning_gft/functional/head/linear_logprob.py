"""The output projection, log-probabilities and their gradient in one pass over chunks of tokens.

Every objective here is ``-sum_t c_t * log p_t`` with coefficients that carry no gradient and are elementwise in the
tokens. The gradient of the logits, ``c_t * (softmax - onehot)``, is then known as soon as the log-probabilities are. So
a chunk's logits are used for loss, entropy and gradient and then discarded: three matrix products, no ``[M, V]`` tensor
is kept, and backward recomputes no logits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lightning_gft.checks import check_count, check_number
from lightning_gft.errors import GFTValueError
from lightning_gft.functional.head.kernels import keep_rows, normalize, write_gradient
from lightning_gft.functional.head.linear_head import LinearHead
from lightning_gft.functional.head.products import add_weight_gradient, hidden_gradient, project
from lightning_gft.functional.losses import weighted_nll
from lightning_gft.functional.precision import widen

ChunkCoefficientsFn = Callable[[Tensor, Tensor | None, slice], Tensor]
"""Returns coefficients ``[m]`` of a chunk from its log-probs ``[m]``, entropies ``[m]`` or ``None``, and slice of
``[M]``."""

_CHUNK_BYTES = 2**27
"""Bytes of a chunk's logits: far below a model's activations and large enough for full-speed products."""
_HALF_CHUNK_BYTES = 2**28
"""Bytes in half precision, where each chunk's product is added to a ``[V, H]`` sum in fp32."""
_CUDA_CHUNK_BYTES = 2**29
"""Bytes on CUDA, where adding to that sum takes longer than the product of few tokens."""


def linear_logprob_loss(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    coefficients: Callable[[Tensor, slice], Tensor],
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    temperature: float = 1.0,
    chunk_size: int | None = None,
    entropy: bool = False,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return ``-sum_t c_t * log p_t`` through a linear head, with log-probabilities and, if requested, entropies.

    Logits are ``softcap * tanh((hidden @ weight.T + bias) * logit_scale / softcap) / temperature``, with the soft-cap
    only if given.

    Args:
        hidden: ``[M, H]`` hidden states, one per token to predict.
        weight: ``[V, H]`` weight of the projection. If it requires no gradient, none is computed.
        targets: ``[M]`` token ids.
        coefficients: Called once per chunk with log-probs ``[m]`` and their slice of ``[M]``; returns ``[m]``
            coefficients, which are detached.
        bias: ``[V]`` bias of the projection.
        softcap: Bound on the absolute logits, as in Gemma.
        logit_scale: Factor of the logits, as in Cohere and Granite.
        temperature: Divisor of the logits, above 0.
        chunk_size: Tokens per chunk; by default as many as keep a chunk's logits at 128 MiB, in half precision 256, on
            CUDA 512.
        entropy: Whether to return entropies.

    Returns:
        Scalar loss, log-probs ``[M]`` and entropies ``[M]`` or ``None``, in at least fp32. Gradient flows through the
        loss alone, once.

    Raises:
        ValueError: If shapes do not fit, ``temperature`` is not above 0, ``chunk_size`` is below 1, or
            ``coefficients`` returns another shape.
        TypeError: If a number is of another type.

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
        raise GFTValueError(
            "`hidden`, `weight`, `targets`: expected [M, H], [V, H] and [M], got "
            f"{tuple(hidden.shape)}, {tuple(weight.shape)} and {tuple(targets.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise GFTValueError(
            f"`bias`: expected [V] for a weight [V, H], got {tuple(bias.shape)} for {tuple(weight.shape)}"
        )
    temperature = check_number("temperature", temperature, above=0, remedy="1 leaves the logits as they are")
    logit_scale = check_number("logit_scale", logit_scale, remedy="1 leaves the logits as they are")
    if softcap is not None:
        softcap = check_number("softcap", softcap, least=0, otherwise="None for no bound")
    if chunk_size is not None:
        chunk_size = check_count("chunk_size", chunk_size, otherwise="None to have it chosen")
    # Dividing by the temperature after the soft-cap equals a lower soft-cap on logits divided before.
    head = LinearHead(softcap / temperature if softcap else None, logit_scale / temperature)
    return head_loss(
        hidden, weight, bias, targets, lambda lp, _, index: coefficients(lp, index), head, entropy, chunk_size
    )


def head_loss(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    coefficients: ChunkCoefficientsFn,
    head: LinearHead,
    entropy: bool = False,
    chunk_size: int | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Compute :func:`linear_logprob_loss` with coefficients that may also depend on entropies."""
    if not torch.is_grad_enabled():
        hidden, weight, bias = hidden.detach(), weight.detach(), None if bias is None else bias.detach()
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
        chunk_size: int | None,
        entropy: bool,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        hidden, weight, bias = _autocast(hidden), _autocast(weight), None if bias is None else _autocast(bias)
        wide = torch.promote_types(hidden.dtype, torch.float32)
        need_hidden, need_weight, need_bias = ctx.needs_input_grad[:3]
        loss = hidden.new_zeros((), dtype=wide)
        logprobs = hidden.new_empty(len(hidden), dtype=wide)
        entropies = hidden.new_empty(len(hidden), dtype=wide) if entropy else None
        hidden_grad = torch.zeros_like(hidden) if need_hidden else None
        weight_grad = torch.zeros_like(weight, dtype=wide) if need_weight else None
        bias_grad = torch.zeros_like(bias, dtype=wide) if bias is not None and need_bias else None

        chunk_size = min(chunk_size or _default_chunk_size(hidden, weight), max(1, len(hidden)))
        buffer = hidden.new_empty(chunk_size, len(weight))
        for start in range(0, len(hidden), chunk_size):
            index = slice(start, start + chunk_size)
            states, chunk_targets = hidden[index], targets[index].unsqueeze(1)
            chunk = project(states, weight, bias, out=buffer[: len(states)])
            log_normalizers, *asked = normalize(chunk, head, entropy)
            target_logits = head.logits(widen(chunk.gather(1, chunk_targets)))
            logprobs[index] = (target_logits - log_normalizers).squeeze(1)
            if entropies is not None:
                entropies[index] = asked[0].squeeze(1)
            entropy_of_chunk = None if entropies is None else entropies[index]
            given = coefficients(logprobs[index], entropy_of_chunk, index)
            scale = check_coefficients(given, len(states)).detach().to(wide)
            loss += weighted_nll(logprobs[index], scale)
            if not (need_hidden or need_weight or need_bias):
                continue
            rows: Tensor | slice = slice(None)
            if scale.is_cpu and not scale.all():  # elsewhere, this check would synchronise with the device
                rows = scale.nonzero().squeeze(1)
                if not len(rows):
                    continue
                chunk, states = keep_rows(chunk, rows), states[rows]
            write_gradient(chunk, chunk_targets[rows], log_normalizers[rows], scale[rows].unsqueeze(1), head)
            if hidden_grad is not None:
                hidden_grad[index][rows] = hidden_gradient(chunk, weight)
            if weight_grad is not None:
                add_weight_gradient(weight_grad, chunk, states)
            if bias_grad is not None:
                bias_grad += chunk.sum(dim=0, dtype=wide)

        ctx.save_for_backward(hidden_grad, weight_grad, bias_grad)
        ctx.mark_non_differentiable(*(t for t in (logprobs, entropies) if t is not None))
        return loss, logprobs, entropies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        scaled = (None if grad is None else _scaled(grad, grad_loss) for grad in ctx.saved_tensors)
        return *scaled, None, None, None, None, None


def check_coefficients(coefficients: Any, count: int) -> Tensor:
    """Return coefficients after checking that there is one for each of ``count`` log-probs."""
    if isinstance(coefficients, Tensor) and coefficients.shape == (count,):
        return coefficients
    got = f"shape {list(coefficients.shape)}" if isinstance(coefficients, Tensor) else repr(coefficients)
    raise GFTValueError(
        f"`coefficients`: expected a tensor [{count}], got {got}; return one coefficient for each log-prob"
    )


def _scaled(grad: Tensor, factor: Tensor) -> Tensor:
    # A graph that is kept may run again, and needs the saved gradients unchanged. Otherwise they are scaled in place,
    # which saves a second tensor of the weight's size.
    kept = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    if kept is None or kept():
        return (grad * factor).to(grad.dtype)
    return grad.mul_(factor)


def _default_chunk_size(hidden: Tensor, weight: Tensor) -> int:
    size = _CUDA_CHUNK_BYTES if hidden.is_cuda else _CHUNK_BYTES if hidden.element_size() > 2 else _HALF_CHUNK_BYTES
    return max(1, size // (len(weight) * hidden.element_size()))


def _autocast(tensor: Tensor) -> Tensor:
    device = tensor.device.type
    # Like autocast itself, leave double precision unchanged.
    lower = torch.is_autocast_enabled(device) and tensor.dtype != torch.float64
    return tensor.to(torch.get_autocast_dtype(device)) if lower else tensor
