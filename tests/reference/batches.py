"""Random batches of ragged groups whose sequences are mixed up."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_gft.types import GroupBatch, Source


def random_groups(
    seed: int = 0, sizes: Sequence[int] = (1, 3, 5, 2), length: int = 9, dtype: torch.dtype = torch.float64
) -> tuple[GroupBatch, Tensor]:
    """Return groups of the given sizes under arbitrary numbers, and log-probabilities ``[N, T]`` for them.

    Every source occurs, some advantages are exactly 0, prompts and responses differ in length.
    """
    generator = torch.Generator().manual_seed(seed)
    number = sum(sizes)
    names = torch.tensor([-7, 1_000_003, 41, 0, -2, 17, 5, 99])[: len(sizes)]
    order = torch.randperm(number, generator=generator)
    group_index = names.repeat_interleave(torch.tensor(sizes))[order]
    prompt = torch.randint(1, 4, (number,), generator=generator)
    response = torch.randint(1, length - 3, (number,), generator=generator)
    position = torch.arange(length).expand(number, length)
    attention_mask = position < (prompt + response)[:, None]
    advantages = torch.randn(number, dtype=torch.float64, generator=generator)
    advantages[torch.randperm(number, generator=generator)[: number // 4]] = 0.0
    logprobs = -3 * torch.rand(number, length, dtype=torch.float64, generator=generator)
    logprobs[:, 0] = 0.0
    groups = GroupBatch(
        input_ids=torch.randint(0, 50, (number, length), generator=generator),
        attention_mask=attention_mask,
        response_mask=attention_mask & (position >= prompt[:, None]),
        group_index=group_index,
        source=torch.arange(number)[torch.randperm(number, generator=generator)] % len(Source),
        rewards=torch.rand(number, dtype=torch.float64, generator=generator).to(dtype),
        advantages=advantages.to(dtype),
        finished=torch.ones(number, dtype=torch.bool),
    )
    return groups, logprobs.to(dtype)


def groups_with_shared_prompts(
    seed: int = 0,
    sizes: Sequence[int] = (1, 3, 5, 2),
    prompt_length: int = 4,
    response_length: int = 7,
    vocabulary: int = 50,
    dtype: torch.dtype = torch.float64,
) -> GroupBatch:
    """Return groups whose responses follow one prompt each, in shuffled order.

    One sequence of the largest group has another prompt of the same length, and one sequence has no response.
    """
    generator = torch.Generator().manual_seed(seed)
    number, length = sum(sizes), prompt_length + response_length
    order = torch.randperm(number, generator=generator)
    group_index = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))[order]
    prompt = torch.randint(1, prompt_length + 1, (len(sizes),), generator=generator)[group_index]
    response = torch.randint(1, response_length + 1, (number,), generator=generator)
    ids = torch.randint(0, vocabulary, (number, length), generator=generator)
    position = torch.arange(length)
    shared = torch.randint(0, vocabulary, (len(sizes), length), generator=generator)[group_index]
    ids = torch.where(position < prompt[:, None], shared, ids)
    largest = (group_index == torch.tensor(sizes).argmax()).nonzero().squeeze(1)
    ids[largest[-1], 0] = (ids[largest[-1], 0] + 1) % vocabulary
    attention_mask = position < (prompt + response)[:, None]
    response_mask = attention_mask & (position >= prompt[:, None])
    response_mask[largest[0]] = False
    return GroupBatch(
        input_ids=ids,
        attention_mask=attention_mask,
        response_mask=response_mask,
        group_index=group_index * 7 - 3,
        source=torch.arange(number) % len(Source),
        rewards=torch.rand(number, dtype=torch.float64, generator=generator).to(dtype),
        advantages=torch.randn(number, dtype=torch.float64, generator=generator).to(dtype),
        finished=torch.ones(number, dtype=torch.bool),
    )
