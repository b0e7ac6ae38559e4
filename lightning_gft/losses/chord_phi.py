"""Policy gradients with supervised fine-tuning on tokens of medium probability."""

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
    """CHORD-phi (arXiv 2508.11408): CHORD with each token of a demonstration weighted by ``phi = p * (1 - p)``.

    The coefficients are ``mu * p * (1 - p)`` on demonstrations and ``(1 - mu)`` times GRPO's on own samples. So tokens
    that the policy already predicts and tokens that it finds improbable both have little effect.

    Args:
        mu: A number from 0 to 1, or an :class:`~lightning_gft.Annealing`; 0.1 in the paper.
        own: Objective for own samples; default :class:`~lightning_gft.GRPOLoss`.
        reduction: How each of the two sums becomes a mean; the reduction of ``own`` is ignored.
        max_completion_length: Number of tokens that each response is divided by with ``reduction="constant-length"``;
            by default the largest ``max_new_tokens`` of the sources that sample.

    Raises:
        ValueError: If ``mu`` is not between 0 and 1.

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
