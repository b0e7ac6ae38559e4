"""Rejection-sampling fine-tuning (RFT)."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_number
from lightning_gft.functional import Reduction
from lightning_gft.losses.composition import OWN, check_own_samples
from lightning_gft.losses.imitation import ImitationLoss
from lightning_gft.types import GroupBatch, Source, TokenBatch


class RFTLoss(ImitationLoss):
    """Maximum likelihood of correct own samples: rejection-sampling fine-tuning (RFT, arXiv 2308.01825).

    The coefficient is 1. A sample is correct if its total reward is at least ``correct_reward``. Wrong samples and
    demonstrations are excluded from the loss and from ``Z``.

    Args:
        correct_reward: Smallest total reward of a correct sample.
        reduction: How the sum over tokens becomes a mean, see :class:`~lightning_gft.GroupLoss`.

    Raises:
        ValueError: If ``correct_reward`` is not finite; before training, if there are no own samples.

    Example:
        >>> RFTLoss(correct_reward=1.0).needs()
        frozenset()
    """

    def __init__(self, correct_reward: float = 1.0, reduction: Reduction = "token-mean") -> None:
        super().__init__(reduction)
        self.correct_reward = check_number("correct_reward", correct_reward, of=type(self).__name__)

    @override
    def trains_on(self) -> frozenset[Source]:
        return OWN

    @override
    def takes_part(self, groups: GroupBatch) -> Tensor:
        return super().takes_part(groups) & (groups.rewards >= self.correct_reward)

    @override
    def check_group(self, num_responses: int, num_own: int) -> None:
        check_own_samples(self, num_own)

    @override
    def coefficients(self, tokens: TokenBatch) -> Tensor:
        return torch.ones_like(tokens.logprobs)
