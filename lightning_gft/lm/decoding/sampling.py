"""Drawing the next tokens of many responses, each from random numbers of its own."""

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
"""Temperature below which the quotient may leave the range of float32."""


class Temperature(LogitsProcessor):
    """Divides logits by a temperature, however small: near 0 all but the most likely token become minus infinity.

    Args:
        temperature: Divisor above 0, which is clamped to the range of the logits' data type.

    Example:
        >>> Temperature(1e-38)(None, torch.tensor([[0.2, 5.0, 0.3]])).softmax(dim=-1)
        tensor([[0., 1., 0.]])
    """

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    @override
    def __call__(self, input_ids: Tensor | None, scores: Tensor) -> Tensor:
        # The divisor is representable in the logits' type, so that 0 and minus infinity keep their values.
        limits = torch.finfo(scores.dtype)
        temperature = min(max(self.temperature, limits.tiny), limits.max)
        if temperature < _MAY_OVERFLOW:  # with the largest logit moved to 0, no quotient overflows upwards
            scores = scores - scores.amax(dim=-1, keepdim=True)
        return scores / temperature


def logits_warpers(sampling: SamplingParams) -> LogitsProcessorList:
    """Return the logits processors that apply ``sampling``, in the order of ``generate`` and mostly its own."""
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

    A row without a seed is 0.
    """
    noise = torch.zeros(len(seeds), length, dtype=torch.float64)
    for row, seed in zip(noise, seeds, strict=True):
        if seed is not None:
            row.uniform_(generator=torch.Generator().manual_seed(seed))
    return noise


def draw(logits: Tensor, noise: Tensor) -> Tensor:
    """Return the token at which the cumulative probability of each row first exceeds its uniform number.

    Args:
        logits: ``[N, V]``, minus infinity at excluded tokens.
        noise: ``[N]`` uniform numbers in [0, 1).

    Returns:
        ``[N]`` token ids.

    Example:
        >>> logits = torch.tensor([[0.2, 0.3, 0.5]]).log().repeat(3, 1)
        >>> draw(logits, torch.tensor([0.1, 0.3, 0.9]))
        tensor([0, 1, 2])
    """
    # One buffer, in place. Instead of normalising the likelihoods, their sum is multiplied into the uniform number.
    likelihoods = logits.to(torch.float64, copy=True)
    cumulative = likelihoods.sub_(likelihoods.amax(dim=-1, keepdim=True)).exp_().cumsum_(dim=-1)
    target = noise.to(cumulative).unsqueeze(1) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True).squeeze(1).clamp(max=logits.shape[-1] - 1)
