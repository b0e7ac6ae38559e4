"""Dynamic fine-tuning that stays near where it started."""

from __future__ import annotations

from lightning_gft.functional import Reduction
from lightning_gft.losses.dft import DFTLoss
from lightning_gft.losses.kl import KLPenalty


class AnchoredSFTLoss(KLPenalty):
    """DFT with the k3 penalty on the demonstrations' tokens, after anchored fine-tuning (ASFT, arXiv 2509.23753).

    The coefficient is ``max(p, floor) - beta * (1 - p_ref / p)``. ASFT's penalty is the divergence over the whole
    vocabulary at each token; this one looks at the token itself, so it is no estimate of that: it pulls the
    probability of each demonstrated token back towards what it was.

    Args:
        beta: Weight of the penalty; ASFT's has 0.05.
        floor: Smallest weight of DFT, see :class:`~lightning_gft.DFTLoss`.
        reduction: What the mean is taken over.

    Raises:
        ValueError: If ``beta`` is negative, or ``floor`` not from 0 to 1.

    Example:
        >>> AnchoredSFTLoss(beta=0.05).needs()
        frozenset({'ref_logprobs'})
    """

    def __init__(self, beta: float = 0.05, floor: float = 0.0, reduction: Reduction = "token-mean") -> None:
        dft = DFTLoss(reduction, floor)
        super().__init__(dft, beta)
        self.floor = dft.floor
