"""Entropy-adaptive fine-tuning."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_number
from lightning_gft.functional import Reduction
from lightning_gft.losses.imitation import ImitationLoss
from lightning_gft.types import Need, TokenBatch


class EAFTLoss(ImitationLoss):
    """Likelihood of the demonstrations, each token weighted by the policy's entropy there (EAFT, arXiv 2601.02151).

    The coefficient is ``min(1, H / max_entropy) ** alpha``: a token that contradicts a confident policy hardly counts,
    one that the policy is uncertain about does, however improbable both are. ``H`` is the entropy over the *whole*
    vocabulary. The paper's is over the 20 most probable tokens, renormalised, and so at most ``ln 20``, about 3; the
    bound of 1 stands in for that.

    Args:
        alpha: Exponent, 1 in the paper; 0 gives supervised fine-tuning.
        max_entropy: Entropy from which on the weight is 1, in nats.
        reduction: What the mean is taken over.

    Raises:
        ValueError: If ``alpha`` is negative or ``max_entropy`` not above 0.

    Example:
        >>> EAFTLoss().needs()
        frozenset({'entropy'})
    """

    def __init__(self, alpha: float = 1.0, max_entropy: float = 3.0, reduction: Reduction = "token-mean") -> None:
        super().__init__(reduction)
        self.alpha = check_number("alpha", alpha, least=0, of=type(self).__name__)
        self.max_entropy = check_number("max_entropy", max_entropy, above=0, of=type(self).__name__)

    @override
    def needs(self) -> frozenset[Need]:
        return frozenset({"entropy"})

    @override
    def coefficients(self, tokens: TokenBatch) -> Tensor:
        assert tokens.entropy is not None  # noqa: S101 (needed)
        # Rounding may leave the entropy of a certainty just below 0.
        return (tokens.entropy / self.max_entropy).clamp(0, 1) ** self.alpha
