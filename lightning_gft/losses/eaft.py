"""Entropy-adaptive fine-tuning (EAFT)."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_number
from lightning_gft.functional import Reduction
from lightning_gft.losses.imitation import ImitationLoss
from lightning_gft.types import Need, TokenBatch


class EAFTLoss(ImitationLoss):
    """Likelihood of the demonstrations, each token weighted by the policy's entropy (EAFT, arXiv 2601.02151).

    The coefficient is ``min(1, H / max_entropy) ** alpha``. A token that contradicts a confident policy gets a small
    weight, and a token that the policy is uncertain about a large one, even if both are equally improbable. ``H`` is
    the entropy over the *whole* vocabulary. The paper's is over the 20 most probable tokens, renormalised, and
    therefore at most ``ln 20``, about 3; here the limit of 1 takes its place.

    Args:
        alpha: Exponent, 1 in the paper; 0 gives supervised fine-tuning.
        max_entropy: Entropy at and above which the weight is 1, in nats.
        reduction: How the sum over tokens becomes a mean, see :class:`~lightning_gft.GroupLoss`.

    Raises:
        ValueError: If ``alpha`` is negative, or ``max_entropy`` is not above 0.

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
        # Rounding may make the entropy of a certain token slightly negative.
        return (tokens.entropy / self.max_entropy).clamp(0, 1) ** self.alpha
