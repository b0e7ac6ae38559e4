"""Selecting tokens by their source and by the sign of their advantage."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lightning_gft.types import Source, TokenBatch

Chosen = Literal[
    "all",
    "positive",
    "negative",
    "demonstrations",
    "positive_demonstrations",
    "negative_demonstrations",
    "own",
    "positive_own",
    "negative_own",
]
"""Tokens of demonstrations or of own samples, of positive or of negative advantage, or a combination of both."""


def choose(chosen: Chosen, tokens: TokenBatch) -> Tensor:
    """Return a mask ``[m]`` of the chosen tokens.

    Example:
        >>> one, source = torch.ones(3), torch.tensor([Source.EXPERT, Source.SELF, Source.SELF])
        >>> tokens = TokenBatch(-one, torch.tensor([1.0, 1.0, -1.0]), source, source, source, one)
        >>> choose("positive", tokens).tolist(), choose("negative_own", tokens).tolist()
        ([True, True, False], [False, False, True])
    """
    own = tokens.source == Source.SELF
    conditions = {
        "all": torch.ones_like(own),
        "positive": tokens.advantages > 0,
        "negative": tokens.advantages < 0,
        "demonstrations": ~own,
        "own": own,
    }
    return torch.stack([conditions[word] for word in chosen.split("_")]).all(dim=0)
