"""Seeds that follow from other seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch


def combine_seeds(*parts: int) -> int:
    """Return one seed that depends on all of ``parts`` and on their order; use as many parts wherever seeds meet.

    Example:
        >>> combine_seeds(1, 2) == combine_seeds(1, 2) != combine_seeds(2, 1)
        True
    """
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def response_seeds(seed: int, places: Sequence[int], num_generations: int) -> list[int]:
    """Return a seed for each response, prompt by prompt, that depends on the prompt's position alone.

    Args:
        seed: The seed of a whole batch.
        places: Positions of the prompts in that batch.
        num_generations: Responses a prompt.

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
    """Within this context torch's randomness, as in dropout, follows from ``seed`` alone; then it continues as before.

    Args:
        seed: Any whole number from 0.
        device: One whose randomness is seeded too.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
