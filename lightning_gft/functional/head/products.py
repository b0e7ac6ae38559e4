"""The head's three matrix products, each written to where its result is used.

A product that returns a new ``[V, H]`` or ``[m, V]`` tensor spends as long on fresh memory pages as on arithmetic. So
logits go to a buffer that all chunks share, and weight gradients are added to one sum.
"""

from __future__ import annotations

import torch
from torch import Tensor

_TILE = 2048
"""Rows of the vocabulary whose product stays in a CPU's cache until it is added or copied."""


def project(hidden: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> Tensor:
    """Write ``hidden @ weight.T + bias`` to ``out``.

    Args:
        hidden: ``[m, H]`` hidden states.
        weight: ``[V, H]`` weight of the projection.
        bias: ``[V]`` bias, or ``None``.
        out: ``[m, V]`` tensor, overwritten.

    Returns:
        The tensor ``out``.

    Example:
        >>> project(torch.ones(1, 2), torch.eye(2), torch.tensor([0.0, 1.0]), torch.empty(1, 2))
        tensor([[1., 2.]])
    """
    if _runs_on_onednn(hidden):
        for start in range(0, len(weight), _TILE):
            rows = slice(start, start + _TILE)
            out[:, rows] = _onednn_linear(hidden, weight[rows], None if bias is None else bias[rows])
        return out
    if bias is None:
        return torch.mm(hidden, weight.mT, out=out)
    return torch.addmm(bias, hidden, weight.mT, out=out)


def hidden_gradient(gradient: Tensor, weight: Tensor) -> Tensor:
    """Return ``gradient @ weight``.

    Args:
        gradient: ``[m, V]`` gradient of the projection's output.
        weight: ``[V, H]`` weight of the projection.

    Returns:
        ``[m, H]`` gradient of the hidden states.

    Example:
        >>> hidden_gradient(torch.ones(1, 2), torch.eye(2))
        tensor([[1., 1.]])
    """
    return _onednn_linear(gradient, weight.mT) if _runs_on_onednn(gradient) else gradient @ weight


def add_weight_gradient(total: Tensor, gradient: Tensor, hidden: Tensor) -> None:
    """Add ``gradient.T @ hidden`` to a sum over chunks, for which half precision is too coarse.

    Args:
        total: ``[V, H]`` sum in at least fp32, changed in place.
        gradient: ``[m, V]`` gradient of the projection's output.
        hidden: ``[m, H]`` hidden states.

    Example:
        >>> total = torch.zeros(2, 1)
        >>> add_weight_gradient(total, torch.tensor([[1.0, 2.0]]), torch.ones(1, 1))
        >>> total
        tensor([[1.],
                [2.]])
    """
    if total.is_cuda and total.dtype != gradient.dtype:
        # The product itself stays in fp32.
        torch.addmm(total, gradient.mT, hidden, out_dtype=total.dtype, out=total)
    elif total.dtype == gradient.dtype and not _runs_on_onednn(gradient):
        total.addmm_(gradient.mT, hidden)
    else:
        for start in range(0, len(total), _TILE):
            rows = slice(start, start + _TILE)
            total[rows] += _transposed_product(gradient[:, rows], hidden)


def _transposed_product(a: Tensor, b: Tensor) -> Tensor:
    return _onednn_linear(a.mT, b.mT) if _runs_on_onednn(a) else a.mT @ b


def _runs_on_onednn(tensor: Tensor) -> bool:
    # In fp32, PyTorch's own products use MKL, which takes twice oneDNN's time on a CPU that is not Intel's; in half
    # precision they use oneDNN already. Inductor's operator is the only way to choose.
    return (
        tensor.is_cpu
        and tensor.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _onednn_linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
    return product
