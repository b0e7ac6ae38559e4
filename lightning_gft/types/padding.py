"""Padding lists of token ids to sequences."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_gft.types.sequences import Sequences


def pad_sequences(
    prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]], pad_token_id: int, device: torch.device
) -> Sequences:
    """Return prompts with their responses as right-padded sequences; masks depend on lengths, not on the padding id.

    Args:
        prompt_ids: ``N`` prompts, of at least one token each.
        response_ids: ``N`` responses, one per prompt.
        pad_token_id: Id of the token that pads rows.
        device: Device of the returned tensors.

    Example:
        >>> sequences = pad_sequences([[5, 6], [7]], [[8, 9], [8]], pad_token_id=0, device=torch.device("cpu"))
        >>> sequences.input_ids
        tensor([[5, 6, 8, 9],
                [7, 8, 0, 0]])
    """
    starts = [len(prompt) for prompt in prompt_ids]
    lengths = [start + len(response) for start, response in zip(starts, response_ids, strict=True)]
    input_ids = torch.full((len(lengths), max(lengths, default=1)), pad_token_id)
    for n, (prompt, response) in enumerate(zip(prompt_ids, response_ids, strict=True)):
        input_ids[n, : lengths[n]] = torch.tensor([*prompt, *response])
    attention_mask = _below(lengths, input_ids.shape[1])
    response_mask = attention_mask & ~_below(starts, input_ids.shape[1])
    return Sequences(input_ids.to(device), attention_mask.to(device), response_mask.to(device))


def _below(lengths: list[int], width: int) -> Tensor:
    return torch.arange(width) < torch.tensor(lengths, dtype=torch.long).unsqueeze(1)
