"""Fine-tuning on the most informative tokens (InfoSFT)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_number
from lightning_gft.functional import Reduction
from lightning_gft.losses.imitation import ImitationLoss
from lightning_gft.types import TokenBatch


class InfoSFTLoss(ImitationLoss):
    """Likelihood of the demonstrations, weighted towards tokens of medium probability (InfoSFT, arXiv 2605.14967).

    The coefficient is ``p * max(0, 1 - logit(p) / logit(P))``, with ``logit(p) = log(p / (1 - p))``. It is 0 for tokens
    of probability 0, and for tokens that are at least as probable as ``P``.

    Args:
        cutoff: The probability ``P``, above 0.5 and below 1; 0.93 in the released code.
        reduction: How the sum over tokens becomes a mean, see :class:`~lightning_gft.GroupLoss`.

    Raises:
        ValueError: If ``cutoff`` is outside its range.

    Example:
        >>> InfoSFTLoss(cutoff=0.93).needs()
        frozenset()
    """

    def __init__(self, cutoff: float = 0.93, reduction: Reduction = "token-mean") -> None:
        super().__init__(reduction)
        self.cutoff = check_number("cutoff", cutoff, above=0.5, below=1, of=type(self).__name__)

    @override
    def coefficients(self, tokens: TokenBatch) -> Tensor:
        logprobs = tokens.logprobs.clamp(max=0)  # rounding may lift the log-probability of a certain token above 0
        p = logprobs.exp()
        # p * log(p) is 0 at p = 0; at p = 1 the log-odds are infinite, and the coefficient is 0.
        weighted_logit = torch.xlogy(p, p) - p * torch.log(-torch.expm1(logprobs))
        return (p - weighted_logit / (math.log(self.cutoff) - math.log1p(-self.cutoff))).clamp(min=0)
