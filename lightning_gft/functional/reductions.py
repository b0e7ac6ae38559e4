"""Reductions of per-token losses to one number."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_gft.checks import check_choice, check_count
from lightning_gft.errors import GFTValueError

Reduction = Literal["token-mean", "sequence-mean", "group-mean", "constant-length"]


def reduction_weights(
    response_mask: Tensor,
    reduction: Reduction = "token-mean",
    group_index: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    max_completion_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return per-sequence weights and a count, so that the loss is ``sum_n weight_n * sum_t loss_nt / count``.

    Weights need only the sequence's own group, and counts add up. So the loss does not depend on how a batch is split
    into micro-batches or over ranks, as long as counts are summed and groups stay whole.

    * ``token-mean``: every response token counts the same.
    * ``sequence-mean``: every response counts the same, whatever its length.
    * ``group-mean``: every prompt counts the same, whatever the number and length of its responses; within a group
      every token counts the same.
    * ``constant-length``: every response is divided by ``max_completion_length``, whatever its own length, so that
      long wrong responses are not favoured (Dr. GRPO, arXiv 2503.20783).

    Args:
        response_mask: ``[N, T]`` booleans, true on response tokens.
        reduction: Name of the reduction, one of the above.
        group_index: ``[N]`` integers, required for ``group-mean``.
        dtype: Data type of weights and count.
        max_completion_length: Divisor in tokens, required for ``constant-length``.

    Returns:
        Weights ``[N]`` and a scalar count. A response without tokens has weight 0 and is not counted.

    Raises:
        ValueError: If ``reduction`` is unknown, or ``group_index`` or ``max_completion_length`` is missing.

    Example:
        >>> mask = torch.tensor([[True, True, True], [True, False, False]])
        >>> reduction_weights(mask, "sequence-mean")
        (tensor([0.3333, 1.0000]), tensor(2.))
    """
    check_choice("reduction", reduction, get_args(Reduction))
    tokens = response_mask.sum(dim=1).to(dtype)
    present = (tokens > 0).to(tokens.dtype)
    if reduction == "token-mean":
        return present, tokens.sum()
    if reduction == "sequence-mean":
        return present / tokens.clamp(min=1), present.sum()
    if reduction == "constant-length":
        return present / check_length(reduction, max_completion_length), present.sum()
    if group_index is None:
        raise GFTValueError(
            "`group_index`: expected [N] with reduction='group-mean', got None; give the group of each sequence"
        )
    index = torch.unique(group_index, return_inverse=True)[1]
    groups = int(index.max()) + 1 if len(index) else 0
    group_tokens = tokens.new_zeros(groups).index_add(0, index, tokens)
    return present / group_tokens.clamp(min=1)[index], (group_tokens > 0).to(tokens.dtype).sum()


def check_length(reduction: Reduction, max_completion_length: int | None) -> int:
    """Return the constant that responses are divided by, which only ``constant-length`` needs.

    Raises:
        ValueError: If it is missing, below 1, or given for another reduction.

    Example:
        >>> check_length("constant-length", 512)
        512
    """
    if (reduction == "constant-length") != (max_completion_length is not None):
        raise GFTValueError(
            f"`max_completion_length`: expected a number of tokens with reduction='constant-length' and null with "
            f"another, got {max_completion_length} with {reduction!r}; set both or neither"
        )
    return check_count("max_completion_length", 1 if max_completion_length is None else max_completion_length)
