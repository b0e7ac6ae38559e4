"""Importance-weighted supervised fine-tuning (iw-SFT)."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_number
from lightning_gft.functional import Reduction
from lightning_gft.functional.logprobs import bounded_ratio, log_ratio
from lightning_gft.losses.imitation import ImitationLoss
from lightning_gft.types import Need, TokenBatch


class IWSFTLoss(ImitationLoss):
    """Likelihood of the demonstrations, weighted by the ratio to the starting policy (iw-SFT, arXiv 2507.12856).

    The coefficient is ``clip(p / p_ref, min_weight, max_weight)``, where ``p_ref`` is the probability under the
    reference policy. This is the token-wise form of the released code; the paper's runs weight whole responses.

    Args:
        min_weight: Lower limit of ``p / p_ref``, at least 0.
        max_weight: Upper limit of ``p / p_ref``, at least ``min_weight``.
        reduction: How the sum over tokens becomes a mean, see :class:`~lightning_gft.GroupLoss`.

    Raises:
        ValueError: If ``min_weight`` is negative, or ``max_weight`` is below it.

    Example:
        >>> IWSFTLoss().needs()
        frozenset({'ref_logprobs'})
    """

    def __init__(self, min_weight: float = 0.2, max_weight: float = 1.8, reduction: Reduction = "token-mean") -> None:
        super().__init__(reduction)
        self.min_weight = check_number("min_weight", min_weight, least=0, of=type(self).__name__)
        self.max_weight = check_number("max_weight", max_weight, least=min_weight, of=type(self).__name__)

    @override
    def needs(self) -> frozenset[Need]:
        return frozenset({"ref_logprobs"})

    @override
    def coefficients(self, tokens: TokenBatch) -> Tensor:
        return bounded_ratio(log_ratio(tokens.logprobs, tokens.ref_logprobs)).clamp(self.min_weight, self.max_weight)
