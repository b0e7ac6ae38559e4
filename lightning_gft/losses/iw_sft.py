"""Importance-weighted fine-tuning."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_number
from lightning_gft.functional import Reduction
from lightning_gft.functional.logprobs import bounded_ratio, log_ratio
from lightning_gft.losses.imitation import ImitationLoss
from lightning_gft.types import Need, TokenBatch


class IWSFTLoss(ImitationLoss):
    """Likelihood of the demonstrations, weighted by how far the policy has moved (iw-SFT, arXiv 2507.12856).

    The coefficient is ``clip(p / p_ref, min_weight, max_weight)``, with ``p_ref`` of the policy that training began
    with: the form by token of the released code. The paper's runs weight whole responses.

    Args:
        min_weight: Smallest weight.
        max_weight: Largest weight.
        reduction: What the mean is taken over.

    Raises:
        ValueError: If ``min_weight`` is negative or ``max_weight`` below it.

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
