"""Dynamic fine-tuning with a penalty that keeps the policy near its start."""

from __future__ import annotations

from lightning_gft.functional import Reduction
from lightning_gft.losses.dft import DFTLoss
from lightning_gft.losses.kl import KLPenalty


class AnchoredSFTLoss(KLPenalty):
    """DFT with the k3 penalty on the demonstrations' tokens, after anchored fine-tuning (ASFT, arXiv 2509.23753).

    The coefficient is ``max(p, floor) - beta * (1 - p_ref / p)``. The penalty of ASFT is the divergence over the whole
    vocabulary at each token. This penalty uses only the demonstrated token, so it is not an estimate of that
    divergence: it pulls the probability of each demonstrated token back towards its value under the starting policy.

    Args:
        beta: Weight of the penalty; 0.05 in ASFT.
        floor: Smallest factor of DFT, see :class:`~lightning_gft.DFTLoss`.
        reduction: How the sum over tokens becomes a mean, see :class:`~lightning_gft.GroupLoss`.

    Raises:
        ValueError: If ``beta`` is negative, or ``floor`` is not between 0 and 1.

    Example:
        >>> AnchoredSFTLoss(beta=0.05).needs()
        frozenset({'ref_logprobs'})
    """

    def __init__(self, beta: float = 0.05, floor: float = 0.0, reduction: Reduction = "token-mean") -> None:
        dft = DFTLoss(reduction, floor)
        super().__init__(dft, beta)
        self.floor = dft.floor
