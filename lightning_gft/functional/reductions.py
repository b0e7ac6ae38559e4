"""Reductions: how per-token losses become one number."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_gft.errors import GFTValueError

Reduction = Literal["token-mean", "sequence-mean", "group-mean"]


def reduction_weights(
    response_mask: Tensor,
    reduction: Reduction = "token-mean",
    group_index: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Return per-sequence weights and a count, so that the loss is ``sum_n weight_n * sum_t loss_nt / count``.

    Weights need only the sequence's own group, and counts add up, so the same loss comes out however a batch is split
    into micro-batches or over ranks, as long as counts are summed and groups stay whole.

    * ``token-mean``: every response token counts the same.
    * ``sequence-mean``: every response counts the same, whatever its length.
    * ``group-mean``: every prompt counts the same, whatever the number and length of its responses; within a group
      every token does.

    Args:
        response_mask: ``[N, T]``, true on response tokens.
        reduction: One of the above.
        group_index: ``[N]``, needed for ``group-mean``.
        dtype: Data type of the results.

    Returns:
        Weights ``[N]`` and a scalar count. A response without tokens counts for nothing.

    Raises:
        ValueError: If ``reduction`` is unknown or ``group_index`` is missing.

    Example:
        >>> mask = torch.tensor([[True, True, True], [True, False, False]])
        >>> reduction_weights(mask, "sequence-mean")
        (tensor([0.3333, 1.0000]), tensor(2.))
    """
    tokens = response_mask.sum(dim=1).to(dtype)
    present = (tokens > 0).to(tokens.dtype)
    if reduction == "token-mean":
        return present, tokens.sum()
    if reduction == "sequence-mean":
        return present / tokens.clamp(min=1), present.sum()
    if reduction == "group-mean":
        if group_index is None:
            raise GFTValueError(
                "`group_index`: expected [N] with reduction='group-mean', got None; give the group of each sequence"
            )
        index = torch.unique(group_index, return_inverse=True)[1]
        groups = int(index.max()) + 1 if len(index) else 0
        group_tokens = tokens.new_zeros(groups).index_add(0, index, tokens)
        return present / group_tokens.clamp(min=1)[index], (group_tokens > 0).to(tokens.dtype).sum()
    raise GFTValueError(f"`reduction`: expected one of {', '.join(get_args(Reduction))}, got {reduction!r}; use one")
