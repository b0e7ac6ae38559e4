"""Ways to get the loss of a linear head, its log-probabilities and its gradients, all of the same tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_gft.functional import linear_logprob_loss


@dataclass(frozen=True)
class HeadInputs:
    """What every contestant is given.

    Args:
        hidden: ``[M, H]``.
        weight: ``[V, H]``.
        targets: ``[M]``.
        coefficients: ``[M]``, detached.
    """

    hidden: Tensor
    weight: Tensor
    targets: Tensor
    coefficients: Tensor


@dataclass(frozen=True)
class HeadOutputs:
    """What every contestant but the floor is to agree on.

    Args:
        loss: Scalar.
        logprobs: ``[M]``.
        hidden_grad: ``[M, H]``.
        weight_grad: ``[V, H]``.
    """

    loss: Tensor
    logprobs: Tensor
    hidden_grad: Tensor
    weight_grad: Tensor


Contestant = Callable[[HeadInputs], HeadOutputs]


def draw_inputs(tokens: int, hidden: int, vocabulary: int, dtype: torch.dtype, device: str) -> HeadInputs:
    """Draw logits of deviation 1, in place and in their own dtype, so that a process's peak is not that of drawing.

    Args:
        tokens: Number of tokens.
        hidden: Width of the hidden states.
        vocabulary: Number of words.
        dtype: Of hidden states and weight.
        device: Where to.
    """
    generator = torch.Generator(device).manual_seed(0)

    def draw(*shape: int, deviation: float) -> Tensor:
        drawn = torch.empty(shape, dtype=dtype, device=device)
        for part in drawn.split(1024):
            part.normal_(std=deviation, generator=generator)
        return drawn.requires_grad_()

    return HeadInputs(
        hidden=draw(tokens, hidden, deviation=1.0),
        weight=draw(vocabulary, hidden, deviation=hidden**-0.5),
        targets=torch.randint(vocabulary, (tokens,), generator=generator, device=device),
        coefficients=torch.randn(tokens, generator=generator, device=device),
    )


def _ours(inputs: HeadInputs, entropy: bool = False) -> HeadOutputs:
    loss, logprobs, _ = linear_logprob_loss(
        inputs.hidden,
        inputs.weight,
        inputs.targets,
        lambda logprobs, index: inputs.coefficients[index],
        entropy=entropy,
    )
    return _backward(inputs, loss, logprobs)


def _ours_with_entropy(inputs: HeadInputs) -> HeadOutputs:
    return _ours(inputs, entropy=True)


def _full_logits(inputs: HeadInputs) -> HeadOutputs:
    logits = torch.nn.functional.linear(inputs.hidden, inputs.weight)
    logprobs = -torch.nn.functional.cross_entropy(logits.float(), inputs.targets, reduction="none")
    del logits  # what autograd does not need is not kept
    return _weighted(inputs, logprobs)


def _trl(inputs: HeadInputs) -> HeadOutputs:
    from trl.kernels import ChunkedLogProbFunction
    from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE

    logprobs = ChunkedLogProbFunction.apply(
        *(inputs.hidden, inputs.weight, None, inputs.targets),
        *(1.0, _CHUNKED_LOGPROB_CHUNK_SIZE, None, 1.0, ()),  # what its trainers give; nothing but log-probs
    )[0]
    return _weighted(inputs, logprobs)


def _liger(inputs: HeadInputs) -> HeadOutputs:
    from liger_kernel.ops.fused_linear_scaled_cross_entropy import LigerFusedLinearScaledCrossEntropyFunction

    return _weighted(
        inputs, -LigerFusedLinearScaledCrossEntropyFunction.apply(inputs.hidden, inputs.weight, inputs.targets)
    )


def floor(inputs: HeadInputs) -> None:
    """Run the three matrix products that no head can do without, and nothing else.

    Args:
        inputs: Their factors; logits stand in for their gradient.
    """
    with torch.no_grad():
        logits = inputs.hidden @ inputs.weight.mT
        _ = logits @ inputs.weight, logits.mT @ inputs.hidden


def _weighted(inputs: HeadInputs, logprobs: Tensor) -> HeadOutputs:
    return _backward(inputs, -(inputs.coefficients * logprobs).sum(), logprobs.detach())


def _backward(inputs: HeadInputs, loss: Tensor, logprobs: Tensor) -> HeadOutputs:
    loss.backward()  # as training does, into .grad
    hidden_grad, weight_grad = inputs.hidden.grad, inputs.weight.grad
    assert hidden_grad is not None  # noqa: S101 (both are leaves that require it)
    assert weight_grad is not None  # noqa: S101
    inputs.hidden.grad = inputs.weight.grad = None
    return HeadOutputs(loss.detach(), logprobs, hidden_grad, weight_grad)


OURS = "ours"
CONTESTANTS: dict[str, Contestant] = {
    OURS: _ours,
    "ours, with entropy": _ours_with_entropy,
    "full logits": _full_logits,
    "TRL": _trl,
    "Liger": _liger,
}
"""By the names that the record has; the floor is run too, but gives nothing to compare."""
