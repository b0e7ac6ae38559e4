"""Drawing the next token of many responses, each from its own random numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from lightning_gft.types import SamplingParams


def logits_warpers(sampling: SamplingParams) -> LogitsProcessorList:
    """Return transformers' own warpers for ``sampling``, in the order that ``generate`` applies them."""
    warpers = LogitsProcessorList()
    if sampling.temperature != 1:
        warpers.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        warpers.append(MinPLogitsWarper(sampling.min_p))
    return warpers


def uniform_noise(seeds: Sequence[int], length: int) -> Tensor:
    """Return ``[N, length]`` uniform numbers in [0, 1), row ``i`` from ``seeds[i]`` alone, in fp64 on the CPU."""
    rows = [torch.rand(length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in seeds]
    return torch.stack(rows) if rows else torch.empty(0, length, dtype=torch.float64)


def draw(logits: Tensor, noise: Tensor) -> Tensor:
    """Return the token at which the cumulative probability of each row first exceeds its uniform number.

    Args:
        logits: ``[N, V]``; tokens ruled out hold minus infinity.
        noise: ``[N]``, in [0, 1).

    Returns:
        ``[N]`` token ids.

    Example:
        >>> logits = torch.tensor([[0.2, 0.3, 0.5]]).log().repeat(3, 1)
        >>> draw(logits, torch.tensor([0.1, 0.3, 0.9]))
        tensor([0, 1, 2])
    """
    # In one tensor, and not divided by the sum: the uniform number is multiplied with it instead.
    likelihoods = logits.to(torch.float64, copy=True)
    cumulative = likelihoods.sub_(likelihoods.amax(dim=-1, keepdim=True)).exp_().cumsum_(dim=-1)
    target = noise.to(cumulative).unsqueeze(1) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True).squeeze(1).clamp(max=logits.shape[-1] - 1)
