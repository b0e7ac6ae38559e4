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
