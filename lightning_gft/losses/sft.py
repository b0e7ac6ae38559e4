"""Supervised fine-tuning (SFT)."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.losses.imitation import ImitationLoss
from lightning_gft.types import TokenBatch


class SFTLoss(ImitationLoss):
    """Maximum likelihood of the demonstrations, regardless of rewards; own samples are not trained on.

    Args:
        reduction: How the sum over tokens becomes a mean, see :class:`~lightning_gft.GroupLoss`.

    Example:
        >>> SFTLoss(reduction="sequence-mean").reduction
        'sequence-mean'
    """

    @override
    def coefficients(self, tokens: TokenBatch) -> Tensor:
        return torch.ones_like(tokens.logprobs)
