"""Supervised fine-tuning where the policy is undecided, and policy gradients."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from lightning_gft.annealing import Annealing
from lightning_gft.functional import Reduction
from lightning_gft.losses.base import GroupLoss
from lightning_gft.losses.chord import CHORDLoss
from lightning_gft.losses.imitation import ImitationLoss
from lightning_gft.types import TokenBatch


class CHORDPhiLoss(CHORDLoss):
    """CHORD-phi (arXiv 2508.11408): CHORD whose demonstrations' tokens are weighted by ``phi = p * (1 - p)``.

    The coefficients are ``mu * p * (1 - p)`` on demonstrations, so that neither what the policy knows nor what
    contradicts it moves it much, and ``(1 - mu)`` times GRPO's on own samples.

    Args:
        mu: A number from 0 to 1, or an :class:`~lightning_gft.Annealing`; 0.1 in the paper.
        own: Objective on own samples; default :class:`~lightning_gft.GRPOLoss`.
        reduction: What both means are taken over; those of ``own`` play no part.
        max_completion_length: Divides each response with ``reduction="constant-length"``.

    Raises:
        ValueError: If ``mu`` is not from 0 to 1.

    Example:
        >>> sorted(CHORDPhiLoss(mu=0.1).needs())
        ['advantages', 'old_logprobs']
    """

    def __init__(
        self,
        mu: float | Annealing = 0.1,
        own: GroupLoss | None = None,
        reduction: Reduction = "token-mean",
        max_completion_length: int | None = None,
    ) -> None:
        super().__init__(mu, own, reduction, max_completion_length)
        self.demonstrations = _Phi()


class _Phi(ImitationLoss):
    @override
    def coefficients(self, tokens: TokenBatch) -> Tensor:
        return tokens.logprobs.exp() * -tokens.logprobs.expm1()
