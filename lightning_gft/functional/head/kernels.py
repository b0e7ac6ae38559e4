"""Softmax and gradient of a chunk of logits, in as few passes over them as possible.

Each of the two kernels reads the logits once, in the data type of the projection's output, and widens them on the way,
so that no chunk is stored in fp32. On CUDA the kernels are compiled. Elsewhere they run on a few rows at a time, whose
temporaries stay in a CPU's cache.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from lightning_gft.functional.head.linear_head import LinearHead
from lightning_gft.functional.precision import widen

_BLOCK_ELEMENTS = 2**18
"""Logits per kernel call on a CPU: 1 MiB in fp32, which the allocator reuses without fresh pages."""
_LARGE_BLOCK_ELEMENTS = 2**25
"""Logits per kernel call on an accelerator without compiled kernels, where only memory counts."""
_OPTIONS: dict[str, str | int | bool | Callable[..., Any]] = {
    "split_reductions": False,  # it would fit all chunks to the first one's rows, with two passes more for few rows
    "online_softmax": False,  # with entropies it would compute the sum only to discard it
    "triton.autotune_pointwise": False,  # it would try two configurations on copies of the chunk
}
_FAILED: list[Callable[..., Any]] = []
"""The kernel that failed to compile in this process; after that, no kernel is compiled."""

_logger = logging.getLogger(__name__)


def normalize(projected: Tensor, head: LinearHead, entropy: bool) -> tuple[Tensor, ...]:
    """Return log-normalisers and, if requested, entropies.

    Args:
        projected: ``[m, V]`` output of the projection.
        head: Soft-cap and scale that turn it into logits.
        entropy: Whether to return entropies.

    Returns:
        One or two tensors ``[m, 1]``, in at least fp32.

    Example:
        >>> log_normalizers, entropies = normalize(torch.zeros(1, 4), LinearHead(), entropy=True)
        >>> log_normalizers.exp(), entropies.exp()
        (tensor([[4.]]), tensor([[4.]]))
    """
    parts = _run(_normalize, projected, (), head, entropy)
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def write_gradient(
    projected: Tensor, targets: Tensor, log_normalizers: Tensor, scale: Tensor, head: LinearHead
) -> None:
    """Overwrite the projection's output by its gradient of ``-sum_t c_t * log p_t``.

    Args:
        projected: ``[m, V]`` output of the projection, overwritten.
        targets: ``[m, 1]`` token ids.
        log_normalizers: ``[m, 1]`` log-normalisers of the logits.
        scale: ``[m, 1]``, the coefficients ``c_t``.
        head: Soft-cap and scale that turn the output into logits.

    Example:
        >>> gradient, zero = torch.zeros(1, 2), torch.zeros(1, 1)
        >>> write_gradient(gradient, zero.long(), zero + 2.0, zero + 1.0, LinearHead())
        >>> gradient
        tensor([[-0.8647,  0.1353]])
    """
    # The gradient at the target, p - 1, is computed separately: it is exact where p is near 1, and the pass over all
    # columns need not find the target's.
    logits = head.logits(widen(projected.gather(1, targets)))
    at_target = head.projection_gradient(torch.expm1(logits - log_normalizers) * scale, logits)
    _run(_write_scaled_probabilities, projected, (log_normalizers, scale), head)
    rows = torch.arange(len(targets), device=targets.device).unsqueeze(1)
    projected[rows, targets] = at_target.to(projected.dtype)  # scattering would go through whole rows


def keep_rows(chunk: Tensor, rows: Tensor) -> Tensor:
    """Move rows to the front without a second chunk, and return them.

    Args:
        chunk: ``[m, V]`` tensor, overwritten.
        rows: ``[k]`` row numbers, ascending.

    Returns:
        The rows ``[k, V]``, a view of ``chunk``.

    Example:
        >>> keep_rows(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([0, 2]))
        tensor([[0.],
                [2.]])
    """
    start = 0
    for part in rows.split(_rows_of_a_block(chunk)):
        # Rows only move up, so no later block reads a row that this one overwrites.
        chunk[start : start + len(part)] = chunk[part]
        start += len(part)
    return chunk[: len(rows)]


def _normalize(projected: Tensor, head: LinearHead, entropy: bool) -> tuple[Tensor, ...]:
    logits = head.logits(widen(projected))
    largest = logits.amax(dim=1, keepdim=True)
    below = logits - largest
    if not entropy:
        return (below.exp_().sum(dim=1, keepdim=True).log_() + largest,)
    weights = below.exp()
    total = weights.sum(dim=1, keepdim=True)
    # H = log Z - E[logit]; an excluded token has weight 0 and logit -inf, and adds 0.
    below = below.clamp_(min=torch.finfo(below.dtype).min)
    expected = weights.mul_(below).sum(dim=1, keepdim=True) / total
    return total.log() + largest, total.log() - expected


def _write_scaled_probabilities(projected: Tensor, log_normalizers: Tensor, scale: Tensor, head: LinearHead) -> None:
    logits = head.logits(widen(projected))
    probs = (logits - log_normalizers).exp_()
    projected.copy_(head.projection_gradient(probs.mul_(scale), logits))


def _run(kernel: Callable[..., Any], projected: Tensor, rows: tuple[Tensor, ...], *settings: Any) -> list[Any]:
    """Run a kernel on a chunk, whole if compiled and otherwise block by block; return the result of each block."""
    tensors = (projected, *rows)
    if _is_compiled_for(projected.device) and not _FAILED:
        from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException  # slow to import, and rarely needed

        try:
            return [_run_compiled(kernel, tensors, *settings)]
        except (TorchDynamoException, FailOnRecompileLimitHit) as error:
            _FAILED.append(kernel)
            reason = " ".join(str(error).split())[:300]  # the first line alone says only that the compiler failed
            _logger.warning("The head's kernels cannot be compiled, and run slower without: %s", reason)
    blocks = zip(*(tensor.split(_rows_of_a_block(projected)) for tensor in tensors), strict=True)
    return [kernel(*block, *settings) for block in blocks]


def _run_compiled(kernel: Callable[..., Any], tensors: tuple[Tensor, ...], *settings: Any) -> Any:
    for tensor in tensors:
        torch._dynamo.mark_static(tensor, 1)  # each vocabulary size is compiled for separately
        torch._dynamo.maybe_mark_dynamic(tensor, 0)  # the last chunk is shorter, and must not be compiled for again
    return _compiled(kernel)(*tensors, *settings)


@cache
def _compiled(kernel: Callable[..., Any]) -> Callable[..., Any]:
    # Without fullgraph, a kernel that cannot be compiled further would run anyway, and make a chunk in fp32.
    return torch.compile(kernel, fullgraph=True, options=_OPTIONS)


def _is_compiled_for(device: torch.device) -> bool:
    return device.type == "cuda"


def _rows_of_a_block(chunk: Tensor) -> int:
    elements = _BLOCK_ELEMENTS if chunk.is_cpu else _LARGE_BLOCK_ELEMENTS
    return max(1, elements // chunk.shape[1])
