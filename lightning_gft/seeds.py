"""Deriving seeds from other seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch


def combine_seeds(*parts: int) -> int:
    """Return one seed that depends on all of ``parts`` and their order; always combine the same number of parts.

    Example:
        >>> combine_seeds(1, 2) == combine_seeds(1, 2) != combine_seeds(2, 1)
        True
    """
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def response_seeds(seed: int, places: Sequence[int], num_generations: int) -> list[int]:
    """Return a seed for each response, prompt by prompt, that depends only on the prompt's position in the batch.

    Args:
        seed: Seed of the whole batch.
        places: Positions of the prompts in that batch.
        num_generations: Number of responses per prompt.

    Example:
        >>> response_seeds(7, [0, 1, 2], 2)[2:4] == response_seeds(7, [1], 2)
        True
    """
    spawned = spawn_seeds(seed, (max(places, default=0) + 1) * num_generations)
    return [spawned[place * num_generations + number] for place in places for number in range(num_generations)]


def spawn_seeds(seed: int, count: int) -> list[int]:
    """Return ``count`` well-spread seeds that depend on ``seed`` alone.

    Example:
        >>> spawn_seeds(0, 3) == spawn_seeds(0, 3) != spawn_seeds(1, 3)
        True
    """
    return [int(state) for state in np.random.SeedSequence(seed).generate_state(count, np.uint64)]


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's random numbers, as used by dropout, within this context, and restore their state afterwards.

    Args:
        seed: Whole number of at least 0.
        device: Device whose random numbers are seeded besides the CPU's.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
