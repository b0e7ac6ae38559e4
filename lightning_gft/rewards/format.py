"""A reward for the form of a response."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_gft.rewards.base import Reward


class FormatReward(Reward):
    """1 where the response matches a regular expression, else 0.

    Args:
        pattern: Regular expression in Python's syntax; ``.`` matches a line break too.
        full_match: Whether the whole response must match, or any part of it.
        weight: What the score counts in the total.

    Raises:
        ValueError: If the pattern is not a regular expression, or the weight not finite.

    Example:
        >>> reward = FormatReward(r"<think>.*</think>.+")
        >>> reward(prompts=["1+1="] * 2, responses=["<think>easy</think>2", "2"], references=["2"] * 2)
        tensor([1., 0.])
    """

    def __init__(self, pattern: str, full_match: bool = True, weight: float = 1.0) -> None:
        super().__init__(weight)
        try:
            self.pattern = re.compile(pattern, re.DOTALL)
        except re.error as error:
            raise ValueError(f"pattern={pattern!r} is not a regular expression: {error}") from error
        self.full_match = full_match

    def __call__(
        self, *, prompts: Sequence[str], responses: Sequence[str], references: Sequence[Any], **columns: Sequence[Any]
    ) -> Tensor:
        """Return ``[N]`` zeros and ones; see :meth:`Reward.__call__`."""
        match = self.pattern.fullmatch if self.full_match else self.pattern.search
        return torch.tensor([match(response) is not None for response in responses], dtype=torch.float32)
