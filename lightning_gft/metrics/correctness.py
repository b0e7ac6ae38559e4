"""The rule by which responses are correct."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Correctness:
    """The rule by which a response is correct, in training and in evaluation.

    Args:
        reward: Name of the reward that decides.
        least: Smallest value of this reward for a correct response.

    Example:
        >>> Correctness("accuracy", least=0.5).judged(torch.tensor([0.5, 0.4, torch.nan]))
        tensor([1., 0., nan], dtype=torch.float64)
    """

    reward: str
    least: float = 1.0

    def judged(self, rewards: Tensor) -> Tensor:
        """Return 1 for correct responses, 0 for wrong ones, and NaN where the reward does not apply.

        Args:
            rewards: Values of the reward, of any shape.
        """
        return (rewards >= self.least).double().masked_fill(rewards.isnan(), torch.nan)
