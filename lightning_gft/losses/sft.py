"""Supervised fine-tuning."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.losses.imitation import ImitationLoss
from lightning_gft.types import TokenBatch


class SFTLoss(ImitationLoss):
    """Maximum likelihood of the demonstrations; rewards and the policy's own samples take no part.

    Args:
        reduction: What the mean is taken over.

    Example:
        >>> SFTLoss(reduction="sequence-mean").reduction
        'sequence-mean'
    """

    @override
    def coefficients(self, tokens: TokenBatch) -> Tensor:
        return torch.ones_like(tokens.logprobs)
