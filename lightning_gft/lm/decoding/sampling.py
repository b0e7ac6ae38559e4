"""Drawing the next token of many responses, each from its own random numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    MinPLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from typing_extensions import override

from lightning_gft.sampling import SamplingParams

_MAY_OVERFLOW = 1e-3
"""A temperature below which the quotient may leave the range of float32."""


class Temperature(LogitsProcessor):
    """Divides logits by a temperature, however small: near 0 all but the likeliest token end at minus infinity.

    Args:
        temperature: Above 0.

    Example:
        >>> Temperature(1e-38)(None, torch.tensor([[0.2, 5.0, 0.3]])).softmax(dim=-1)
        tensor([[0., 1., 0.]])
    """

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    @override
    def __call__(self, input_ids: Tensor | None, scores: Tensor) -> Tensor:
        # Divided by a number that the logits' type has, 0 and minus infinity stay what they are.
        limits = torch.finfo(scores.dtype)
        temperature = min(max(self.temperature, limits.tiny), limits.max)
        if temperature < _MAY_OVERFLOW:  # but not without its largest logit
            scores = scores - scores.amax(dim=-1, keepdim=True)
        return scores / temperature


def logits_warpers(sampling: SamplingParams) -> LogitsProcessorList:
    """Return what ``sampling`` does to logits, in the order that ``generate`` applies it, most by its own warpers."""
    warpers = LogitsProcessorList()
    if sampling.temperature != 1:
        warpers.append(Temperature(sampling.temperature))
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        warpers.append(MinPLogitsWarper(sampling.min_p))
    return warpers


def uniform_noise(seeds: Sequence[int | None], length: int) -> Tensor:
    """Return ``[N, length]`` uniform numbers in [0, 1), row ``i`` from ``seeds[i]`` alone, in fp64 on the CPU.

    Without a seed a row is 0.
    """
    noise = torch.zeros(len(seeds), length, dtype=torch.float64)
    for row, seed in zip(noise, seeds, strict=True):
        if seed is not None:
            row.uniform_(generator=torch.Generator().manual_seed(seed))
    return noise


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
