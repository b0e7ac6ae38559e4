"""Which responses are correct."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Correctness:
    """What makes a response correct, in training as in an evaluation.

    Args:
        reward: Name of the reward that tells.
        least: A response with at least this reward is correct.

    Example:
        >>> Correctness("accuracy", least=0.5).judged(torch.tensor([0.5, 0.4, torch.nan]))
        tensor([1., 0., nan], dtype=torch.float64)
    """

    reward: str
    least: float = 1.0

    def judged(self, rewards: Tensor) -> Tensor:
        """Return 1 for each correct response, 0 for the others, and NaN where the reward does not apply.

        Args:
            rewards: What the reward gives, of any shape.
        """
        return (rewards >= self.least).double().masked_fill(rewards.isnan(), torch.nan)
